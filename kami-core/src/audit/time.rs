//! Moments in UTC, as RFC 3339 writes them.

use std::fmt;
use std::str::FromStr;
use std::time::{Duration, SystemTime, UNIX_EPOCH};

use serde::{Deserialize, Serialize};

const MILLIS_PER_SECOND: u64 = 1000;
const SECONDS_PER_DAY: u64 = 86_400;

/// The first moment that four digits of a year cannot tell.
const END: u64 = 253_402_300_800 * MILLIS_PER_SECOND;

/// A moment in UTC between 1970 and 9999, to the millisecond: `2026-11-21T11:24:29.057Z`.
#[derive(Debug, Clone, Copy, PartialEq, Eq, PartialOrd, Ord, Hash, Serialize, Deserialize)]
#[serde(try_from = "String", into = "String")]
pub struct UtcTime {
    /// Since 1970.
    millis: u64,
}

/// Text that is not a moment.
#[derive(Debug, Clone, PartialEq, Eq, thiserror::Error)]
#[error("not a time: write it as RFC 3339 does, such as 2026-11-21T11:24:29Z")]
pub struct UtcTimeError;

impl UtcTime {
    /// This moment, by the machine's clock.
    pub fn now() -> Self {
        // A clock before 1970 is wrong anyway.
        let since = SystemTime::now().duration_since(UNIX_EPOCH).unwrap_or_default();
        Self::from_millis(u64::try_from(since.as_millis()).unwrap_or(u64::MAX))
    }

    /// The moment that many milliseconds after the beginning of 1970, or the last that there is.
    pub fn from_millis(millis: u64) -> Self {
        Self { millis: millis.min(END - 1) }
    }

    /// The moment that much earlier, or the beginning of 1970.
    pub fn before(self, duration: Duration) -> Self {
        let millis = u64::try_from(duration.as_millis()).unwrap_or(u64::MAX);
        Self { millis: self.millis.saturating_sub(millis) }
    }
}

impl fmt::Display for UtcTime {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        let seconds = self.millis / MILLIS_PER_SECOND;
        let (year, month, day) = date(seconds / SECONDS_PER_DAY);
        let second = seconds % SECONDS_PER_DAY;
        let (hour, minute, second) = (second / 3600, second / 60 % 60, second % 60);
        let millis = self.millis % MILLIS_PER_SECOND;
        write!(f, "{year:04}-{month:02}-{day:02}T{hour:02}:{minute:02}:{second:02}.{millis:03}Z")
    }
}

impl FromStr for UtcTime {
    type Err = UtcTimeError;

    /// Takes every moment of RFC 3339 from 1970 on, in whatever offset; what is finer than a
    /// millisecond is dropped.
    fn from_str(text: &str) -> Result<Self, UtcTimeError> {
        parse(text).ok_or(UtcTimeError)
    }
}

impl TryFrom<String> for UtcTime {
    type Error = UtcTimeError;

    fn try_from(text: String) -> Result<Self, UtcTimeError> {
        text.parse()
    }
}

impl From<UtcTime> for String {
    fn from(time: UtcTime) -> String {
        time.to_string()
    }
}

fn parse(text: &str) -> Option<UtcTime> {
    let (date, rest) = text.split_at_checked(10)?;
    let (clock, rest) = rest.strip_prefix(['T', 't', ' '])?.split_at_checked(8)?;
    let [year, month, day] = numbers(date, '-', [4, 2, 2])?;
    let [hour, minute, second] = numbers(clock, ':', [2, 2, 2])?;
    // A leap second counts as the one before it.
    let valid = (1970..=9999).contains(&year)
        && (1..=12).contains(&month)
        && (1..=days_in(year, month)).contains(&day)
        && hour < 24
        && minute < 60
        && second <= 60;
    if !valid {
        return None;
    }
    let (millis, offset) = match rest.strip_prefix('.') {
        Some(fraction) => {
            let end = fraction.find(|c: char| !c.is_ascii_digit())?;
            let digits: String = fraction[..end].chars().chain("00".chars()).take(3).collect();
            (if end == 0 { return None } else { digits.parse::<i64>().ok()? }, &fraction[end..])
        }
        None => (0, rest),
    };
    let of_day = hour * 3600 + minute * 60 + second.min(59);
    let seconds = days_before(year, month, day) * SECONDS_PER_DAY + of_day;
    let local = i64::try_from(seconds * MILLIS_PER_SECOND).ok()? + millis;
    let utc = u64::try_from(local - offset_millis(offset)?).ok()?;
    (utc < END).then_some(UtcTime { millis: utc })
}

/// `Z`, or `+HH:MM`, or `-HH:MM`.
fn offset_millis(text: &str) -> Option<i64> {
    if text == "Z" || text == "z" {
        return Some(0);
    }
    let (sign, clock) = match text.split_at_checked(1)? {
        ("+", clock) => (1, clock),
        ("-", clock) => (-1, clock),
        _ => return None,
    };
    let [hours, minutes] = numbers(clock, ':', [2, 2])?;
    let offset = i64::try_from((hours * 60 + minutes) * 60 * MILLIS_PER_SECOND).ok()?;
    (hours < 24 && minutes < 60).then_some(sign * offset)
}

/// Reads numbers of so many digits each, with `separator` between them.
fn numbers<const N: usize>(text: &str, separator: char, digits: [usize; N]) -> Option<[u64; N]> {
    let mut parts = text.split(separator);
    let mut read = [0; N];
    for (number, length) in read.iter_mut().zip(digits) {
        let part = parts.next()?;
        if part.len() != length || !part.bytes().all(|byte| byte.is_ascii_digit()) {
            return None;
        }
        *number = part.parse().ok()?;
    }
    parts.next().is_none().then_some(read)
}

fn is_leap(year: u64) -> bool {
    year.is_multiple_of(4) && (!year.is_multiple_of(100) || year.is_multiple_of(400))
}

fn days_in(year: u64, month: u64) -> u64 {
    match month {
        2 if is_leap(year) => 29,
        2 => 28,
        4 | 6 | 9 | 11 => 30,
        _ => 31,
    }
}

/// The days between the beginning of 1970 and a date.
fn days_before(year: u64, month: u64, day: u64) -> u64 {
    let past = year - 1;
    // 719162 days are in the 1969 years before 1970.
    let years = past * 365 + past / 4 - past / 100 + past / 400 - 719_162;
    years + (1..month).map(|month| days_in(year, month)).sum::<u64>() + day - 1
}

/// Year, month and day so many days after the beginning of 1970.
fn date(days: u64) -> (u64, u64, u64) {
    // 400 years have 146097 days; the estimate is at most one year too late.
    let mut year = 1970 + days * 400 / 146_097;
    if days < days_before(year, 1, 1) {
        year -= 1;
    }
    let mut left = days - days_before(year, 1, 1);
    let mut month = 1;
    while left >= days_in(year, month) {
        left -= days_in(year, month);
        month += 1;
    }
    // The estimate may be early too, by the length of one leap year's day.
    if month > 12 { (year + 1, 1, left + 1) } else { (year, month, left + 1) }
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn every_day_is_read_back_as_it_was_written_and_follows_the_one_before() {
        let last = END / MILLIS_PER_SECOND / SECONDS_PER_DAY;
        let mut before = String::new();
        for day in 0..last {
            let time = UtcTime::from_millis((day * SECONDS_PER_DAY + day % 86_400) * 1000 + 7);
            let text = time.to_string();
            assert_eq!(text.parse(), Ok(time), "{text}");
            assert!(before < text, "{before} {text}");
            before = text;
        }
        assert!(before.starts_with("9999-12-31T"), "{before}");
    }

    #[test]
    fn known_moments_are_told_as_others_tell_them() {
        for (millis, text) in [
            (0, "1970-01-01T00:00:00.000Z"),
            (951_782_400_000, "2000-02-29T00:00:00.000Z"),
            (1_795_260_269_057, "2026-11-21T11:24:29.057Z"),
            (4_107_542_399_999, "2100-02-28T23:59:59.999Z"),
        ] {
            assert_eq!(UtcTime::from_millis(millis).to_string(), text);
        }
    }

    #[test]
    fn offsets_and_fractions_are_understood_and_nonsense_is_not() {
        let read = |text: &str| text.parse::<UtcTime>().map(|time| time.to_string());
        let noon = Ok("2026-11-21T12:00:00.500Z".to_owned());
        for good in [
            "2026-11-21T12:00:00.5Z",
            "2026-11-21 12:00:00.500999z",
            "2026-11-21T14:00:00.5+02:00",
            "2026-11-21T06:30:00.50-05:30",
        ] {
            assert_eq!(read(good), noon, "{good}");
        }
        for bad in [
            "",
            "2026-11-21",
            "2026-11-21T12:00:00",
            "2026-02-29T12:00:00Z",
            "2026-13-01T12:00:00Z",
            "2026-11-21T24:00:00Z",
            "2026-11-21T12:00:00.Z",
            "2026-11-21T12:00:00+0200",
            "1970-01-01T00:00:00+00:01",
            "+026-11-21T12:00:00Z",
            "2026-11-21T12:00:00ZZ",
            "２026-11-21T12:00:00Z",
        ] {
            assert_eq!(read(bad), Err(UtcTimeError), "{bad}");
        }
    }
}
