//! Who runs, who waits, and who is next: plain data, without a clock.

use std::collections::{HashMap, VecDeque};
use std::hash::Hash;
use std::time::Duration;

use super::{Claim, Lane, Principal, Priority, ScheduleOptions};

/// Of 13 places, how many go to each [`Priority`] while all of them wait.
const WEIGHTS: [i32; Priority::ALL.len()] = [1, 3, 9];

/// How much one call counts in the mean time that calls hold their places: one in so many.
const MEMORY: u32 = 16;

/// The most seconds that a call is told to stay away. Beyond it, estimates are worth nothing.
const LONGEST_RETRY: f64 = 60.0;

/// The calls that run, and those that wait, each with a `T` by which it hears that it may begin.
pub(super) struct Line<T> {
    options: ScheduleOptions,
    free: usize,
    waiting: usize,
    principals: HashMap<Principal, Count>,
    /// By the key of the lane.
    lanes: HashMap<u128, Count>,
    classes: [Class<T>; Priority::ALL.len()],
    last: Ticket,
    /// How long calls hold their places, in the mean of the last ones.
    hold: Duration,
}

/// A call's number, higher for whoever came later.
#[derive(Debug, Clone, Copy, PartialEq, Eq, PartialOrd, Ord)]
pub(super) struct Ticket(u64);

#[derive(Default)]
struct Count {
    running: usize,
    waiting: usize,
}

/// The calls of one priority that wait.
struct Class<T> {
    /// What it has saved up towards its next place.
    credit: i32,
    /// Whose turn was longest ago stands first.
    parties: VecDeque<Party<T>>,
}

/// The calls of one principal, in a class.
struct Party<T> {
    principal: Principal,
    /// Whose turn was longest ago stands first.
    queues: VecDeque<Queue<T>>,
}

/// The calls of one lane, in a party.
struct Queue<T> {
    lane: Lane,
    calls: VecDeque<(Ticket, Claim, T)>,
}

impl<T> Line<T> {
    pub(super) fn new(options: ScheduleOptions) -> Self {
        Self {
            options,
            free: places(&options),
            waiting: 0,
            principals: HashMap::new(),
            lanes: HashMap::new(),
            classes: Priority::ALL.map(|_| Class { credit: 0, parties: VecDeque::new() }),
            last: Ticket(0),
            hold: Duration::ZERO,
        }
    }

    pub(super) fn running(&self) -> usize {
        places(&self.options) - self.free
    }

    pub(super) fn waiting(&self) -> usize {
        self.waiting
    }

    /// Takes a place if the call may begin at once. It overtakes nobody: who could begin does not
    /// wait.
    pub(super) fn take(&mut self, claim: &Claim) -> bool {
        if self.free == 0 || !self.has_room(claim.lane) {
            return false;
        }
        self.free -= 1;
        self.lanes.entry(claim.lane.key).or_default().running += 1;
        self.principals.entry(claim.principal).or_default().running += 1;
        true
    }

    /// Puts a call in line.
    ///
    /// # Errors
    /// Where as many wait as may: when to come again.
    pub(super) fn join(&mut self, claim: Claim, call: T) -> Result<Ticket, Duration> {
        let of_one = self.principals.get(&claim.principal).map_or(0, |count| count.waiting);
        if self.waiting >= self.options.most_waiting || of_one >= self.options.most_waiting_of_one {
            return Err(self.retry(&claim));
        }
        self.waiting += 1;
        self.lanes.entry(claim.lane.key).or_default().waiting += 1;
        self.principals.entry(claim.principal).or_default().waiting += 1;
        self.last.0 += 1;
        let parties = &mut self.classes[claim.priority as usize].parties;
        let party = find(
            parties,
            |party| party.principal == claim.principal,
            || Party { principal: claim.principal, queues: VecDeque::new() },
        );
        let queue = find(
            &mut party.queues,
            |queue| queue.lane == claim.lane,
            || Queue { lane: claim.lane, calls: VecDeque::new() },
        );
        queue.calls.push_back((self.last, claim, call));
        Ok(self.last)
    }

    /// Takes a call out of the line, if it still waits.
    pub(super) fn leave(&mut self, claim: &Claim, ticket: Ticket) {
        let parties = &self.classes[claim.priority as usize].parties;
        let found = parties.iter().enumerate().find_map(|(p, party)| {
            if party.principal != claim.principal {
                return None;
            }
            let q = party.queues.iter().position(|queue| queue.lane == claim.lane)?;
            let call = party.queues[q].calls.binary_search_by_key(&ticket, |(t, ..)| *t).ok()?;
            Some((p, q, call))
        });
        if let Some((party, queue, call)) = found {
            self.remove(claim.priority as usize, party, queue, call, false);
        }
    }

    /// Gives back the place of a call that held it for this long, and takes one for the call that is
    /// next. One place is free, and one call of the lane has ended, so no more than one may begin.
    pub(super) fn release(&mut self, claim: &Claim, held: Duration) -> Option<(Claim, T)> {
        let of_lane = self.lanes.get(&claim.lane.key).is_some_and(|count| count.waiting > 0);
        let is_awaited = of_lane || (self.free == 0 && self.waiting > 0);
        self.free += 1;
        less(&mut self.lanes, claim.lane.key, |count| count.running -= 1);
        less(&mut self.principals, claim.principal, |count| count.running -= 1);
        self.hold = (self.hold * (MEMORY - 1) + held) / MEMORY;
        if is_awaited { self.begin_next() } else { None }
    }

    fn begin_next(&mut self) -> Option<(Claim, T)> {
        let firsts = std::array::from_fn::<_, { Priority::ALL.len() }, _>(|at| self.first_of(at));
        let mut total = 0;
        for ((class, first), weight) in self.classes.iter_mut().zip(&firsts).zip(WEIGHTS) {
            // Who has nothing that may begin saves nothing up.
            let gain = if first.is_some() { weight } else { -class.credit };
            class.credit += gain;
            total += if first.is_some() { weight } else { 0 };
        }
        let ready = (0..firsts.len()).filter(|at| firsts[*at].is_some());
        let chosen = ready.max_by_key(|at| (self.classes[*at].credit, *at))?;
        let (party, queue) = firsts[chosen]?;
        self.classes[chosen].credit -= total;
        let (_, claim, call) = self.remove(chosen, party, queue, 0, true)?;
        self.take(&claim).then_some((claim, call))
    }

    /// When a call that is refused should come again: after those that wait had their places, each
    /// for as long as the last ones held theirs.
    pub(super) fn retry(&self, claim: &Claim) -> Duration {
        let of_lane = self.lanes.get(&claim.lane.key).map_or(0, |count| count.waiting);
        let rounds = |waiting: usize, places: usize| (waiting + 1) as f64 / places as f64;
        let rounds =
            rounds(self.waiting, places(&self.options)).max(rounds(of_lane, claim.lane.limit));
        let seconds = (self.hold.as_secs_f64() * rounds).ceil().clamp(1.0, LONGEST_RETRY);
        Duration::from_secs(seconds as u64)
    }

    /// Whether nothing is kept of calls that are over.
    #[cfg(test)]
    pub(super) fn is_forgetful(&self) -> bool {
        let parties = self.classes.iter().map(|class| class.parties.len()).sum::<usize>();
        let counts = self.principals.len() + self.lanes.len();
        (self.running(), self.waiting, parties, counts) == (0, 0, 0, 0)
    }

    fn has_room(&self, lane: Lane) -> bool {
        self.lanes.get(&lane.key).is_none_or(|count| count.running < lane.limit)
    }

    /// The party and the queue of a class whose turn it is: of those with room, the first one of
    /// whoever holds the fewest places.
    fn first_of(&self, class: usize) -> Option<(usize, usize)> {
        let mut best: Option<(usize, usize, usize)> = None;
        for (at, party) in self.classes[class].parties.iter().enumerate() {
            let held = self.principals.get(&party.principal).map_or(0, |count| count.running);
            if best.is_some_and(|(least, ..)| least <= held) {
                continue;
            }
            if let Some(queue) = party.queues.iter().position(|queue| self.has_room(queue.lane)) {
                best = Some((held, at, queue));
            }
            if best.is_some_and(|(least, ..)| least == 0) {
                break;
            }
        }
        best.map(|(_, party, queue)| (party, queue))
    }

    /// Takes one call out. Where it had its turn, its queue and its party stand last from then on.
    fn remove(
        &mut self,
        class: usize,
        party: usize,
        queue: usize,
        call: usize,
        had_its_turn: bool,
    ) -> Option<(Ticket, Claim, T)> {
        let parties = &mut self.classes[class].parties;
        let queues = &mut parties.get_mut(party)?.queues;
        let calls = &mut queues.get_mut(queue)?.calls;
        let removed = calls.remove(call)?;
        let is_empty = calls.is_empty();
        settle(queues, queue, is_empty, had_its_turn);
        let is_empty = queues.is_empty();
        settle(parties, party, is_empty, had_its_turn);
        let claim = &removed.1;
        self.waiting -= 1;
        less(&mut self.lanes, claim.lane.key, |count| count.waiting -= 1);
        less(&mut self.principals, claim.principal, |count| count.waiting -= 1);
        Some(removed)
    }
}

/// As many as there are, and one in any case: without any, nothing would ever begin.
fn places(options: &ScheduleOptions) -> usize {
    options.places.max(1) as usize
}

/// Counts down, and forgets who has nothing any more.
fn less<K: Eq + Hash>(counts: &mut HashMap<K, Count>, key: K, down: impl FnOnce(&mut Count)) {
    if let Some(count) = counts.get_mut(&key) {
        down(count);
        if count.running == 0 && count.waiting == 0 {
            counts.remove(&key);
        }
    }
}

/// The element that is meant, put last if it is not there.
fn find<T>(all: &mut VecDeque<T>, meant: impl Fn(&T) -> bool, new: impl FnOnce() -> T) -> &mut T {
    let at = all.iter().position(meant).unwrap_or_else(|| {
        all.push_back(new());
        all.len() - 1
    });
    &mut all[at]
}

/// Takes out what is empty, and puts last who had the turn.
fn settle<T>(all: &mut VecDeque<T>, at: usize, is_empty: bool, had_its_turn: bool) {
    if (is_empty || had_its_turn)
        && let Some(element) = all.remove(at)
        && !is_empty
    {
        all.push_back(element);
    }
}
