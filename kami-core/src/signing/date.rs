//! Days of the calendar, as people write them into a file: trust ends with one.

use std::fmt;
use std::str::FromStr;
use std::time::{Duration, SystemTime, UNIX_EPOCH};

use serde::{Deserialize, Serialize};

const DAY: Duration = Duration::from_secs(24 * 60 * 60);

/// A day in UTC from 1970 to 9999, written `YYYY-MM-DD`.
#[derive(Debug, Clone, Copy, PartialEq, Eq, PartialOrd, Ord, Hash, Serialize, Deserialize)]
#[serde(try_from = "String", into = "String")]
pub struct Date {
    year: u16,
    month: u8,
    day: u8,
}

/// Text that is not a day.
#[derive(Debug, Clone, PartialEq, Eq, thiserror::Error)]
#[error("not a date: expected YYYY-MM-DD from 1970 on, such as 2027-01-31")]
pub struct DateError;

impl Date {
    /// The day of `time`; the first or last that can be written, where it is outside of those.
    pub fn of(time: SystemTime) -> Self {
        let since = time.duration_since(UNIX_EPOCH).unwrap_or_default();
        let mut left = since.as_secs() / DAY.as_secs();
        for year in 1970..=9999 {
            for month in 1..=12 {
                let days = u64::from(days_of(year, month));
                if left < days {
                    let day = u8::try_from(left + 1).expect("a month has up to 31 days");
                    return Self { year, month, day };
                }
                left -= days;
            }
        }
        Self { year: 9999, month: 12, day: 31 }
    }

    /// The moment at which the day is over.
    pub fn end(self) -> SystemTime {
        let years = (1970..self.year).flat_map(|year| (1..=12).map(move |month| (year, month)));
        let months = (1..self.month).map(|month| (self.year, month));
        let before: u32 =
            years.chain(months).map(|(year, month)| u32::from(days_of(year, month))).sum();
        UNIX_EPOCH + DAY * (before + u32::from(self.day))
    }
}

fn days_of(year: u16, month: u8) -> u8 {
    let leap = year.is_multiple_of(4) && (!year.is_multiple_of(100) || year.is_multiple_of(400));
    match month {
        2 if leap => 29,
        2 => 28,
        4 | 6 | 9 | 11 => 30,
        _ => 31,
    }
}

impl FromStr for Date {
    type Err = DateError;

    fn from_str(text: &str) -> Result<Self, DateError> {
        let digits = |range: std::ops::Range<usize>| -> Result<u16, DateError> {
            let part = text.get(range).ok_or(DateError)?;
            let valid = part.bytes().all(|byte| byte.is_ascii_digit());
            part.parse().ok().filter(|_| valid).ok_or(DateError)
        };
        let (year, month, day) = (digits(0..4)?, digits(5..7)?, digits(8..10)?);
        let date = Self {
            year,
            month: u8::try_from(month).map_err(|_| DateError)?,
            day: u8::try_from(day).map_err(|_| DateError)?,
        };
        let exists = year >= 1970
            && (1..=12).contains(&date.month)
            && (1..=days_of(year, date.month)).contains(&date.day);
        if exists && date.to_string() == text { Ok(date) } else { Err(DateError) }
    }
}

impl fmt::Display for Date {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        write!(f, "{:04}-{:02}-{:02}", self.year, self.month, self.day)
    }
}

impl TryFrom<String> for Date {
    type Error = DateError;

    fn try_from(text: String) -> Result<Self, DateError> {
        text.parse()
    }
}

impl From<Date> for String {
    fn from(date: Date) -> String {
        date.to_string()
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn only_days_that_exist_are_dates() {
        for good in ["1970-01-01", "2024-02-29", "2000-02-29", "2027-01-31", "9999-12-31"] {
            assert_eq!(good.parse::<Date>().unwrap().to_string(), good);
        }
        for bad in [
            "",
            "2027",
            "2027-1-31",
            "2027-01-32",
            "2027-02-29",
            "1900-01-01",
            "2100-02-29",
            "2027-13-01",
            "2027-00-01",
            "2027-01-00",
            "2027/01/31",
            "+027-01-31",
            "2027-01-31 ",
            "2027-01-31T00:00:00Z",
            "２０２７-01-31",
            "20270131",
        ] {
            assert_eq!(bad.parse::<Date>(), Err(DateError), "{bad}");
        }
    }

    #[test]
    fn a_day_lasts_until_the_next_one_begins() {
        let at = |seconds| UNIX_EPOCH + Duration::from_secs(seconds);
        assert_eq!("1970-01-01".parse::<Date>().unwrap().end(), at(86_400));
        // `date -u -d 2027-02-01 +%s`.
        let january = "2027-01-31".parse::<Date>().unwrap();
        assert_eq!(january.end(), at(1_801_440_000));
        assert_eq!(Date::of(january.end() - Duration::from_nanos(1)), january);
        assert_eq!(Date::of(january.end()).to_string(), "2027-02-01");
        assert_eq!(Date::of(UNIX_EPOCH - DAY).to_string(), "1970-01-01");
        assert_eq!(Date::of(at(u64::from(u32::MAX) * 1000)).to_string(), "9999-12-31");
    }
}
