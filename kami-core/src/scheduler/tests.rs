//! Futures are driven by hand, so that each test knows who stands where, and none waits.

use std::pin::Pin;
use std::sync::atomic::AtomicUsize;
use std::task::{Context, Poll, Waker};

use tokio::runtime::{Builder, Runtime};

use super::*;

/// The longest that a claim of these tests permits: nobody gets there.
const LONG: Duration = Duration::from_secs(3600);

type Admitting = Pin<Box<dyn Future<Output = Result<Permit, Refusal>> + Send>>;

fn runtime() -> Runtime {
    Builder::new_current_thread().enable_time().build().unwrap()
}

fn scheduler(places: u32) -> Scheduler {
    Scheduler::new(ScheduleOptions {
        places,
        most_waiting: 10_000,
        most_waiting_of_one: 5_000,
        patience: LONG,
    })
}

/// The call of somebody to a tool that has room for all.
fn of(name: &str) -> Claim {
    let (principal, lane) = (Principal::named(name), Lane::new("any", usize::MAX));
    Claim { principal, lane, priority: Priority::Normal, patience: LONG }
}

fn to(name: &str, lane: &str, limit: usize) -> Claim {
    Claim { lane: Lane::new(lane, limit), ..of(name) }
}

fn admitting(scheduler: &Scheduler, claim: Claim) -> Admitting {
    let scheduler = scheduler.clone();
    Box::pin(async move { scheduler.admit(claim).await })
}

fn poll(admitting: &mut Admitting) -> Poll<Result<Permit, Refusal>> {
    admitting.as_mut().poll(&mut Context::from_waker(Waker::noop()))
}

/// Calls in the order in which they came and began, each with what tells it apart.
struct Hall<T> {
    scheduler: Scheduler,
    waiting: Vec<(T, Admitting)>,
    running: Vec<(T, Permit)>,
}

impl<T: Copy> Hall<T> {
    fn new(scheduler: Scheduler) -> Self {
        Self { scheduler, waiting: Vec::new(), running: Vec::new() }
    }

    fn arrive(&mut self, call: T, claim: Claim) {
        self.waiting.push((call, admitting(&self.scheduler, claim)));
        self.begun();
    }

    /// Ends a call that runs, and gives those that begin thereby.
    fn end(&mut self, at: usize) -> Vec<T> {
        drop(self.running.remove(at));
        self.begun()
    }

    fn begun(&mut self) -> Vec<T> {
        let mut begun = Vec::new();
        for (call, mut admitting) in std::mem::take(&mut self.waiting) {
            match poll(&mut admitting) {
                Poll::Ready(permit) => {
                    let permit = permit.unwrap_or_else(|refusal| panic!("{refusal:?}"));
                    self.running.push((call, permit));
                    begun.push(call);
                }
                Poll::Pending => self.waiting.push((call, admitting)),
            }
        }
        begun
    }
}

#[test]
fn a_call_begins_at_once_where_there_is_a_place_and_else_in_its_turn() {
    let runtime = runtime();
    let _inside = runtime.enter();
    let mut hall = Hall::new(scheduler(2));
    for call in 0..5 {
        hall.arrive(call, of("one"));
    }
    assert_eq!((hall.running.len(), hall.waiting.len()), (2, 3));
    assert_eq!((hall.scheduler.running(), hall.scheduler.waiting()), (2, 3));
    assert_eq!([hall.end(1), hall.end(0), hall.end(0)], [[2], [3], [4]]);
    assert_eq!((hall.end(0).len(), hall.end(0).len()), (0, 0));
    assert_eq!((hall.scheduler.running(), hall.scheduler.waiting()), (0, 0));
}

#[test]
fn principals_get_equal_shares_whatever_they_demand() {
    let runtime = runtime();
    let _inside = runtime.enter();
    let mut hall = Hall::new(scheduler(8));
    for (name, demand) in [("a", 900), ("b", 90), ("c", 60), ("d", 40)] {
        for _ in 0..demand {
            hall.arrive(name, of(name));
        }
    }
    let held = |hall: &Hall<&str>, name| hall.running.iter().filter(|(of, _)| *of == name).count();
    assert_eq!(held(&hall, "a"), 8, "there was nobody else");
    // Whichever call ends, from when on each has had a turn.
    let mut begun = std::collections::HashMap::new();
    for round in 0..120 {
        for name in hall.end(round * 7 % 8) {
            *begun.entry(name).or_insert(0) += 1;
        }
        if round >= 8 {
            for name in ["a", "b", "c", "d"] {
                assert!((1..=3).contains(&held(&hall, name)), "{name} in round {round}");
            }
        }
    }
    let (least, most) = (begun.values().min().unwrap(), begun.values().max().unwrap());
    assert!(begun.len() == 4 && most - least <= 8, "{begun:?}");
}

#[test]
fn long_calls_get_no_more_places_than_short_ones() {
    let runtime = runtime();
    let _inside = runtime.enter();
    let mut hall = Hall::new(scheduler(6));
    for _ in 0..50 {
        hall.arrive("short", of("short"));
    }
    for _ in 0..50 {
        hall.arrive("long", of("long"));
    }
    for _ in 0..40 {
        // Those of one never end.
        let short = hall.running.iter().position(|(name, _)| *name == "short").unwrap();
        hall.end(short);
    }
    let long = hall.running.iter().filter(|(name, _)| *name == "long").count();
    assert_eq!(long, 3);
}

#[test]
fn a_thousand_calls_of_one_delay_nobody_else() {
    let runtime = runtime();
    let _inside = runtime.enter();
    let mut hall = Hall::new(scheduler(4));
    for _ in 0..1_000 {
        hall.arrive("many", of("many"));
    }
    for name in ["one", "two", "three"] {
        hall.arrive(name, of(name));
    }
    assert_eq!([hall.end(0), hall.end(0), hall.end(0)], [["one"], ["two"], ["three"]]);
    assert_eq!(hall.end(0), ["many"]);
}

#[test]
fn a_tool_at_its_limit_keeps_only_its_own_calls_waiting() {
    let runtime = runtime();
    let _inside = runtime.enter();
    let mut hall = Hall::new(scheduler(3));
    for _ in 0..4 {
        hall.arrive("slow", to("one", "slow", 1));
    }
    for _ in 0..4 {
        hall.arrive("fast", to("one", "fast", 9));
    }
    let running =
        |hall: &Hall<&'static str>| hall.running.iter().map(|(name, _)| *name).collect::<Vec<_>>();
    assert_eq!(running(&hall), ["slow", "fast", "fast"]);
    assert_eq!([hall.end(1), hall.end(1)], [["fast"], ["fast"]]);
    // Where nothing else waits, its places stay free.
    assert!(hall.end(1).is_empty() && hall.end(1).is_empty());
    assert_eq!((running(&hall), hall.waiting.len()), (vec!["slow"], 3));
    assert_eq!(hall.end(0), ["slow"]);
}

#[test]
fn each_call_is_held_to_the_limit_that_it_came_with() {
    let runtime = runtime();
    let _inside = runtime.enter();
    let mut hall = Hall::new(scheduler(9));
    hall.arrive("old", to("one", "tool", 1));
    hall.arrive("old", to("one", "tool", 1));
    hall.arrive("new", to("one", "tool", 3));
    hall.arrive("new", to("one", "tool", 3));
    hall.arrive("new", to("one", "tool", 3));
    let running: Vec<_> = hall.running.iter().map(|(name, _)| *name).collect();
    assert_eq!(running, ["old", "new", "new"]);
    assert_eq!(hall.end(0), ["new"]);
    assert!(hall.end(0).is_empty() && hall.end(0).is_empty());
    assert_eq!(hall.end(0), ["old"]);
}

#[test]
fn the_tools_of_a_principal_take_turns() {
    let runtime = runtime();
    let _inside = runtime.enter();
    let mut hall = Hall::new(scheduler(1));
    for tool in ["a", "a", "a", "a", "b", "b", "c"] {
        hall.arrive(tool, to("one", tool, 9));
    }
    let order: Vec<_> = (0..6).flat_map(|_| hall.end(0)).collect();
    assert_eq!(order, ["a", "b", "c", "a", "b", "a"]);
}

#[test]
fn a_higher_priority_goes_before_and_a_lower_one_does_not_starve() {
    let runtime = runtime();
    let _inside = runtime.enter();
    let mut hall = Hall::new(scheduler(1));
    hall.arrive(Priority::Normal, of("one"));
    for priority in Priority::ALL {
        for _ in 0..100 {
            hall.arrive(priority, Claim { priority, ..of("one") });
        }
    }
    let order: Vec<_> = (0..78).flat_map(|_| hall.end(0)).collect();
    assert_eq!(order[0], Priority::High);
    for thirteen in order.chunks(13) {
        let counts = Priority::ALL.map(|which| thirteen.iter().filter(|p| **p == which).count());
        assert_eq!(counts, [1, 3, 9], "{order:?}");
    }
}

#[test]
fn a_priority_that_had_nothing_to_do_has_saved_nothing_up() {
    let runtime = runtime();
    let _inside = runtime.enter();
    let mut hall = Hall::new(scheduler(1));
    hall.arrive(Priority::Low, of("one"));
    for _ in 0..50 {
        hall.arrive(Priority::Low, Claim { priority: Priority::Low, ..of("one") });
    }
    (0..40).for_each(|_| assert_eq!(hall.end(0), [Priority::Low]));
    for _ in 0..20 {
        hall.arrive(Priority::High, Claim { priority: Priority::High, ..of("two") });
    }
    let order: Vec<_> = (0..10).flat_map(|_| hall.end(0)).collect();
    assert_eq!(order.iter().filter(|p| **p == Priority::Low).count(), 1, "{order:?}");
    assert_eq!(order[0], Priority::High);
}

#[test]
fn who_goes_away_at_any_moment_leaves_nothing_behind() {
    let runtime = runtime();
    let _inside = runtime.enter();
    for moment in ["not yet polled", "in line", "given a place", "running"] {
        let scheduler = scheduler(1);
        let Poll::Ready(Ok(first)) = poll(&mut admitting(&scheduler, of("one"))) else {
            panic!("there is a place")
        };
        let mut leaver = admitting(&scheduler, of("two"));
        let mut ran = None;
        if moment != "not yet polled" {
            assert!(poll(&mut leaver).is_pending());
        }
        let mut other = admitting(&scheduler, of("three"));
        assert!(poll(&mut other).is_pending());
        let waited = usize::from(moment != "not yet polled");
        assert_eq!(scheduler.waiting(), 1 + waited, "{moment}");
        if moment == "given a place" || moment == "running" {
            drop(first);
            assert!(poll(&mut other).is_pending(), "the place went to the other");
            if moment == "running" {
                ran = Some(poll(&mut leaver));
                assert!(matches!(ran, Some(Poll::Ready(Ok(_)))));
            }
            drop((leaver, ran));
        } else {
            drop(leaver);
            assert_eq!(scheduler.waiting(), 1, "{moment}");
            drop(first);
        }
        let Poll::Ready(Ok(last)) = poll(&mut other) else { panic!("{moment}: nobody is next") };
        assert_eq!((scheduler.running(), scheduler.waiting()), (1, 0), "{moment}");
        drop(last);
        assert_eq!(scheduler.running(), 0, "{moment}");
    }
}

#[test]
fn the_line_is_bounded_for_all_and_for_each() {
    let runtime = runtime();
    let _inside = runtime.enter();
    let options = ScheduleOptions {
        places: 1,
        most_waiting: 5,
        most_waiting_of_one: 3,
        ..ScheduleOptions::default()
    };
    let mut hall = Hall::new(Scheduler::new(options));
    let full = |hall: &Hall<&str>, name| {
        let answer = poll(&mut admitting(&hall.scheduler, of(name)));
        matches!(answer, Poll::Ready(Err(Refusal::Full { .. })))
    };
    for _ in 0..4 {
        hall.arrive("many", of("many"));
    }
    assert!(full(&hall, "many"));
    hall.arrive("few", of("few"));
    hall.arrive("few", of("few"));
    assert!(full(&hall, "few") && full(&hall, "new"));
    // A place in line that was given up is there for others.
    hall.waiting.pop();
    hall.arrive("new", of("new"));
    assert!(full(&hall, "few"));
    assert_eq!(hall.end(0), ["many"], "of nobody does any run, and this one came first");
    hall.arrive("few", of("few"));
    assert_eq!((hall.scheduler.running(), hall.scheduler.waiting()), (1, 5));

    let none = Scheduler::new(ScheduleOptions { places: 1, most_waiting: 0, ..options });
    let first = poll(&mut admitting(&none, of("one")));
    assert!(matches!(first, Poll::Ready(Ok(_))));
    let second = poll(&mut admitting(&none, of("one")));
    assert!(matches!(second, Poll::Ready(Err(Refusal::Full { .. }))));
}

#[test]
fn nobody_waits_longer_than_is_permitted() {
    let runtime = runtime();
    let short = Duration::from_millis(1);
    for (patience, of_the_claim) in [(short, LONG), (LONG, short)] {
        let options = ScheduleOptions { places: 1, patience, ..ScheduleOptions::default() };
        let scheduler = Scheduler::new(options);
        let claim = Claim { patience: of_the_claim, ..of("one") };
        runtime.block_on(async {
            let held = scheduler.admit(claim).await.unwrap();
            let late = scheduler.admit(claim).await.err();
            assert!(matches!(late, Some(Refusal::Late { .. })), "{late:?}");
            assert_eq!(scheduler.waiting(), 0);
            drop(held);
            assert!(scheduler.admit(claim).await.is_ok(), "the place was not lost");
        });
    }
}

#[test]
fn who_is_refused_hears_when_to_come_again() {
    let options = ScheduleOptions {
        places: 2,
        most_waiting: 7,
        most_waiting_of_one: 7,
        ..ScheduleOptions::default()
    };
    let mut line = Line::new(options);
    let (any, single) = (of("one"), to("one", "single", 1));
    assert_eq!(line.retry(&any), Duration::from_secs(1), "nothing is known, and nobody waits");
    for _ in 0..200 {
        assert!(line.take(&any));
        assert!(line.release(&any, Duration::from_secs(4)).is_none());
    }
    assert_eq!(line.retry(&any), Duration::from_secs(2));
    assert_eq!(line.retry(&single), Duration::from_secs(4));
    assert!(line.take(&any) && line.take(&single));
    (0..5).for_each(|_| assert!(line.join(any, ()).is_ok()));
    (0..2).for_each(|_| assert!(line.join(single, ()).is_ok()));
    assert_eq!(line.join(any, ()), Err(Duration::from_secs(16)), "eight, two at once");
    assert_eq!(line.join(single, ()), Err(Duration::from_secs(16)));
    for _ in 0..200 {
        let next = line.release(&any, Duration::from_secs(900));
        assert!(next.is_some() || line.take(&any));
    }
    assert_eq!(line.retry(&any), Duration::from_secs(60), "more than that is not known");
}

/// Arrivals, ends and departures in no order, after each of which nobody waits who might run.
#[test]
fn nobody_waits_who_might_run_whatever_happens() {
    let runtime = runtime();
    let _inside = runtime.enter();
    let mut random = 1_u64;
    let mut roll = |sides: usize| {
        random = random.wrapping_mul(6_364_136_223_846_793_005).wrapping_add(1);
        (random >> 33) as usize % sides
    };
    let mut hall = Hall::new(scheduler(5));
    let mut blocked = 0;
    for step in 0..20_000 {
        match roll(5) {
            0 | 1 if hall.waiting.len() < 60 => {
                let tool = roll(4);
                let claim = to(["a", "b", "c"][roll(3)], ["w", "x", "y", "z"][tool], tool + 1);
                hall.arrive(tool, Claim { priority: Priority::ALL[roll(3)], ..claim });
            }
            2 | 3 if !hall.running.is_empty() => drop(hall.end(roll(hall.running.len()))),
            _ if !hall.waiting.is_empty() => drop(hall.waiting.remove(roll(hall.waiting.len()))),
            _ => {}
        }
        let of = |tool| hall.running.iter().filter(|(of, _)| *of == tool).count();
        assert!(hall.running.len() <= 5 && (0..4).all(|tool| of(tool) <= tool + 1), "{step}");
        let might = hall.waiting.iter().filter(|(tool, _)| of(*tool) <= *tool).count();
        assert!(hall.running.len() == 5 || might == 0, "{might} might run at step {step}");
        let counts = (hall.scheduler.running(), hall.scheduler.waiting());
        assert_eq!(counts, (hall.running.len(), hall.waiting.len()), "{step}");
        blocked += usize::from(hall.running.len() < 5 && !hall.waiting.is_empty());
    }
    assert!(blocked > 100, "tools were at their limits {blocked} times only");
    hall.waiting.clear();
    hall.running.clear();
    assert!(hall.scheduler.shared.lock().is_forgetful());
}

#[test]
fn many_threads_hold_no_more_places_than_there_are_and_all_get_their_turn() {
    const PLACES: usize = 7;
    const LIMIT: usize = 3;
    let runtime = Builder::new_multi_thread().worker_threads(8).enable_time().build().unwrap();
    let scheduler = scheduler(PLACES as u32);
    let counts: Arc<[[AtomicUsize; 2]; 4]> = Arc::default();
    let enter = |count: &[AtomicUsize; 2]| {
        count[1].fetch_max(count[0].fetch_add(1, Ordering::SeqCst) + 1, Ordering::SeqCst);
    };
    let calls = (0..4_000).map(|n: usize| {
        let (scheduler, counts) = (scheduler.clone(), Arc::clone(&counts));
        runtime.spawn(async move {
            let tool = n % 3;
            let claim = to(["a", "b", "c", "d", "e"][n % 5], ["x", "y", "z"][tool], LIMIT);
            let claim = Claim { priority: Priority::ALL[n / 7 % 3], ..claim };
            let admitting = scheduler.admit(claim);
            let permit = if n.is_multiple_of(11) {
                // Some go away in the middle of whatever happens.
                tokio::select! {
                    biased;
                    permit = admitting => permit,
                    () = tokio::task::yield_now() => return false,
                }
            } else {
                admitting.await
            };
            let permit = permit.unwrap_or_else(|refusal| panic!("{refusal:?}"));
            enter(&counts[3]);
            enter(&counts[tool]);
            tokio::task::yield_now().await;
            for count in [&counts[tool], &counts[3]] {
                count[0].fetch_sub(1, Ordering::SeqCst);
            }
            drop(permit);
            true
        })
    });
    let calls: Vec<_> = calls.collect();
    let ran = runtime.block_on(async {
        let mut ran = 0;
        for call in calls {
            ran += usize::from(call.await.unwrap());
        }
        ran
    });
    assert!(ran >= 4_000 - 4_000 / 11 - 1, "{ran} got their turn");
    let most = |at: usize| counts[at][1].load(Ordering::SeqCst);
    assert!(most(3) <= PLACES && (0..3).all(|tool| most(tool) <= LIMIT), "{counts:?}");
    assert!(scheduler.shared.lock().is_forgetful());
}

#[test]
fn principals_are_the_same_by_name_only() {
    assert_eq!(Principal::named("alice"), Principal::named("alice"));
    assert_ne!(Principal::named("alice"), Principal::named("bob"));
    assert_ne!(Principal::unnamed(), Principal::unnamed());
    assert_ne!(Principal::unnamed(), Principal::default());
    assert_ne!(Principal::named(""), Principal::default());
}
