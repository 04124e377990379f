//! Where the memory of guests comes from, and for how many of them this process has room.
//!
//! A pool needs about 4 GiB of address space for each place, and a handful of mappings. Where the
//! system permits less, there are fewer places, or none is reserved and each call gets its memory
//! when it begins. That is slower and works: what is too much for the machine waits, or is refused
//! by itself.

use std::fmt;
use std::sync::Arc;
use std::sync::atomic::{AtomicU64, Ordering};

/// Where the memory of instances comes from.
#[derive(Debug, Clone, Copy, PartialEq, Eq, Hash, Default)]
pub enum Allocation {
    /// From a pool for which address space is reserved at the start, if there is enough of it; else
    /// on demand.
    #[default]
    Pool,
    /// From the system, when a call begins: slower, with next to nothing reserved.
    OnDemand,
}

/// What is too scarce for what was asked, what is done instead, and what would help.
#[derive(Debug, Clone, PartialEq, Eq)]
#[non_exhaustive]
pub enum Shortage {
    /// The kernel permits fewer mappings than the places would need.
    Mappings {
        /// `vm.max_map_count` of this machine.
        most: u64,
        /// How many places were asked for.
        asked: u32,
        /// How many there are.
        places: u32,
        /// The `vm.max_map_count` that would suffice.
        needed: u64,
    },
    /// `ulimit -v` leaves room for some places of the pool that was asked for.
    SmallPool {
        /// The limit, in bytes.
        most: u64,
        /// How many places were asked for.
        asked: u32,
        /// How many there are.
        places: u32,
        /// The limit that would suffice, in bytes.
        needed: u64,
    },
    /// `ulimit -v` leaves no room for a pool.
    NoPool {
        /// The limit, in bytes.
        most: u64,
        /// How many places there are.
        places: u32,
        /// The limit that would suffice for a pool of as many places as were asked for, in bytes.
        needed: u64,
    },
    /// The system refuses the address space for a pool, although no limit that is known forbids it.
    Refused {
        /// How many places were asked for.
        asked: u32,
        /// What the system said.
        reason: String,
    },
}

impl Shortage {
    /// Of so many places, none could be reserved.
    pub(super) fn refused(asked: u32, error: &wasmtime::Error) -> Self {
        Self::Refused { asked, reason: error.root_cause().to_string() }
    }
}

impl fmt::Display for Shortage {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        match self {
            Self::Mappings { most, asked, places, needed } => write!(
                f,
                "vm.max_map_count is {most}, which suffices for {places} of {asked} calls at once; \
                 more will wait. For all of them, set `sysctl -w vm.max_map_count={needed}`, or \
                 lower --max-concurrent to {places}"
            ),
            Self::SmallPool { most, asked, places, needed } => write!(
                f,
                "address space is limited to {} MiB, which suffices for {places} of {asked} calls \
                 at once; more will wait. For all of them, raise it (`ulimit -v {}`), or lower \
                 --max-concurrent to {places}",
                most >> 20,
                needed >> 10,
            ),
            Self::NoPool { most, places, needed } => write!(
                f,
                "address space is limited to {} MiB, too little to reserve it for calls ahead: each \
                 call gets its memory when it begins, which is slower, and {places} run at once. \
                 Raise it (`ulimit -v {}`, or unlimited), or lower --max-concurrent",
                most >> 20,
                needed >> 10,
            ),
            Self::Refused { asked, reason } => write!(
                f,
                "the system gives no address space for {asked} calls at once ({reason}): each call \
                 gets its memory when it begins, which is slower. Permit more address space, or \
                 lower --max-concurrent"
            ),
        }
    }
}

/// The engines that may be at work: with metering, and without.
const ENGINES: u64 = 2;

/// Address space of one place in a pool: 4 GiB of memory, 32 MiB that guard it, tables and a stack.
/// A server with 256 places has 4,130 MiB for each, and one with 1,000 too.
const POOL_PLACE: u64 = 4160 << 20;

/// Mappings of one place: a stack and its guard, and up to six parts of a memory that was used: below
/// it, its image with what was written since, what it grew by, and what it did not.
const PLACE_MAPPINGS: u64 = 8;

/// Mappings of everything else: libraries, threads, native code of a thousand tools.
const OTHER_MAPPINGS: u64 = 8192;

/// A pool of fewer places than this, where more were asked for, is worth less than memory on demand.
const LEAST_POOL: u32 = 16;

/// What a memory on demand has to grow into. It is moved where it needs more.
pub(super) const RESERVED: u64 = 8 << 20;

/// Address space that a call on demand takes beside its memory: room to grow into, twice while it is
/// moved; a stack; tables.
const CALL: u64 = 2 * RESERVED + (4 << 20);

/// The most address space that is kept for everything but guests: threads, buffers, native code. Half
/// of what there is, where that is less.
const OTHERS: u64 = 2 << 30;

/// What this process may map, where that is limited.
#[derive(Debug, Clone, Copy, Default)]
pub(super) struct Room {
    pub(super) mappings: Option<u64>,
    pub(super) address_space: Option<u64>,
}

/// What there will be for guests.
#[derive(Debug, Clone, PartialEq, Eq)]
pub(super) struct Plan {
    pub(super) allocation: Allocation,
    pub(super) places: u32,
    /// Bytes of memory for all guests together, where they get it on demand and it is limited.
    pub(super) memory: Option<u64>,
    pub(super) shortages: Vec<Shortage>,
}

impl Room {
    /// Asks the system.
    pub(super) fn of_this_process() -> Self {
        Self { mappings: most_mappings(), address_space: most_address_space() }
    }

    /// How many of the `asked` places there will be, and with memory from where.
    pub(super) fn plan(self, allocation: Allocation, asked: u32) -> Plan {
        let asked = asked.max(1);
        let mut plan = Plan { allocation, places: asked, memory: None, shortages: Vec::new() };
        if let Some(most) = self.mappings {
            let each = ENGINES * PLACE_MAPPINGS;
            let fit = at_least_one(most.saturating_sub(OTHER_MAPPINGS) / each);
            if fit < asked {
                let needed = OTHER_MAPPINGS + each * u64::from(asked);
                plan.shortages.push(Shortage::Mappings { most, asked, places: fit, needed });
                plan.places = fit;
            }
        }
        if let Some(most) = self.address_space {
            plan.fit(most);
        }
        plan
    }
}

impl Plan {
    /// Keeps to an address space of `most` bytes.
    fn fit(&mut self, most: u64) {
        let asked = self.places;
        let left = most - (most / 2).min(OTHERS);
        let needed = (ENGINES * POOL_PLACE).saturating_mul(asked.into()).saturating_add(OTHERS);
        if self.allocation == Allocation::Pool {
            let fit = u32::try_from(left / (ENGINES * POOL_PLACE)).unwrap_or(u32::MAX);
            if fit >= asked {
                return;
            }
            if fit >= LEAST_POOL {
                self.places = fit;
                self.shortages.push(Shortage::SmallPool { most, asked, places: fit, needed });
                return;
            }
        }
        // One half for what calls take in any case, and the other for their memories; each of them
        // is there twice while it is moved.
        self.places = asked.min(at_least_one(left / 2 / CALL));
        self.memory = Some((left - (left / 2).min(u64::from(self.places) * CALL)) / 2);
        if self.allocation == Allocation::Pool {
            self.allocation = Allocation::OnDemand;
            self.shortages.push(Shortage::NoPool { most, places: self.places, needed });
        }
    }
}

fn at_least_one(places: u64) -> u32 {
    u32::try_from(places).unwrap_or(u32::MAX).max(1)
}

#[cfg(target_os = "linux")]
fn most_mappings() -> Option<u64> {
    std::fs::read_to_string("/proc/sys/vm/max_map_count").ok()?.trim().parse().ok()
}

#[cfg(not(target_os = "linux"))]
fn most_mappings() -> Option<u64> {
    None
}

#[cfg(unix)]
fn most_address_space() -> Option<u64> {
    rustix::process::getrlimit(rustix::process::Resource::As).current
}

#[cfg(not(unix))]
fn most_address_space() -> Option<u64> {
    None
}

/// Memory of all guests, where it is limited: a share that each has for itself, so that nobody keeps
/// the others from beginning, and the rest for whoever comes first.
#[derive(Debug, Clone, Default)]
pub(crate) struct SharedMemory(Option<Shared>);

#[derive(Debug, Clone)]
struct Shared {
    share: u64,
    rest: Arc<AtomicU64>,
}

impl SharedMemory {
    /// Half of the `bytes` are in equal parts for so many `places`; there is no bound without them.
    pub(crate) fn new(bytes: Option<u64>, places: u32) -> Self {
        Self(bytes.map(|bytes| {
            let share = bytes / 2 / u64::from(places.max(1));
            let rest = bytes - share * u64::from(places);
            Shared { share, rest: Arc::new(AtomicU64::new(rest)) }
        }))
    }

    /// Has a guest with `used` bytes grow by `growth`, if they are there.
    pub(crate) fn grow(&self, used: usize, growth: usize) -> bool {
        let Some(Shared { share, rest }) = &self.0 else { return true };
        let more = beyond(*share, used.saturating_add(growth)) - beyond(*share, used);
        rest.fetch_update(Ordering::Relaxed, Ordering::Relaxed, |rest| rest.checked_sub(more))
            .is_ok()
    }

    /// Has a guest with `used` bytes give back `freed` of them.
    pub(crate) fn shrink(&self, used: usize, freed: usize) {
        if let Some(Shared { share, rest }) = &self.0 {
            let less = beyond(*share, used) - beyond(*share, used.saturating_sub(freed));
            rest.fetch_add(less, Ordering::Relaxed);
        }
    }
}

/// What of `used` bytes comes from what is shared.
fn beyond(share: u64, used: usize) -> u64 {
    (used as u64).saturating_sub(share)
}

#[cfg(test)]
mod tests {
    use super::*;

    const GIB: u64 = 1 << 30;

    fn plan(mappings: u64, address_space: u64, asked: u32) -> Plan {
        let room = Room { mappings: Some(mappings), address_space: Some(address_space) };
        room.plan(Allocation::Pool, asked)
    }

    #[test]
    fn what_there_is_room_for_is_given() {
        let unlimited = Room::default().plan(Allocation::Pool, 20_000);
        for plan in [plan(65_530, 64 << 40, 1000), unlimited.clone()] {
            assert_eq!((plan.allocation, plan.memory), (Allocation::Pool, None));
            assert_eq!(plan.shortages, []);
        }
        assert_eq!(unlimited.places, 20_000);
        assert_eq!(plan(65_530, 64 << 40, 0).places, 1);
    }

    #[test]
    fn too_few_mappings_make_fewer_places() {
        let plan = plan(65_530, 1 << 50, 20_000);
        assert_eq!((plan.allocation, plan.places), (Allocation::Pool, 3583));
        let [shortage] = &plan.shortages[..] else { panic!("{plan:?}") };
        let said = shortage.to_string();
        assert!(said.contains("3583 of 20000 calls"), "{said}");
        // What is advised is enough.
        assert!(said.contains("sysctl -w vm.max_map_count=328192"), "{said}");
        let room = Room { mappings: Some(328_192), address_space: None };
        assert_eq!(room.plan(Allocation::Pool, 20_000).shortages, []);
        let room = Room { mappings: Some(100), address_space: None };
        assert_eq!(room.plan(Allocation::Pool, 256).places, 1);
    }

    #[test]
    fn little_address_space_makes_a_small_pool_or_none() {
        let small = plan(65_530, 200 * GIB, 256);
        assert_eq!((small.allocation, small.places), (Allocation::Pool, 24));
        let said = small.shortages[0].to_string();
        assert!(said.contains("204800 MiB") && said.contains("24 of 256 calls"), "{said}");
        let needed: u64 =
            said.split("ulimit -v ").nth(1).unwrap().split('`').next().unwrap().parse().unwrap();
        assert_eq!(plan(65_530, needed << 10, 256).shortages, []);

        let none = plan(65_530, GIB, 256);
        assert_eq!((none.allocation, none.places), (Allocation::OnDemand, 12));
        let said = none.shortages[0].to_string();
        assert!(said.contains("1024 MiB") && said.contains("12 run at once"), "{said}");
        // A pool is made of as few as are asked for.
        assert_eq!(plan(65_530, 40 * GIB, 4).shortages, []);
        assert_eq!(plan(65_530, 40 * GIB, 256).allocation, Allocation::OnDemand);
    }

    #[test]
    fn all_that_calls_may_take_fits() {
        for mebibytes in [1, 100, 500, 1000, 4000, 20_000, 100_000] {
            let most = mebibytes << 20;
            let plan = plan(65_530, most, 256);
            let memory = plan.memory.unwrap();
            // One always runs, also where there is no room left for it.
            let calls = u64::from(plan.places) * CALL + 2 * memory;
            assert!(plan.places == 1 || calls + (most / 2).min(OTHERS) <= most, "{plan:?}");
        }
    }

    #[test]
    fn who_wants_no_pool_is_not_warned() {
        let room = Room { mappings: None, address_space: Some(GIB) };
        let plan = room.plan(Allocation::OnDemand, 256);
        assert_eq!((plan.places, plan.shortages), (12, Vec::new()));
        assert_eq!(Room::default().plan(Allocation::OnDemand, 256).memory, None);
    }

    #[test]
    fn no_numbers_are_too_large() {
        let room = Room { mappings: None, address_space: Some(64 * GIB) };
        let plan = room.plan(Allocation::Pool, u32::MAX);
        assert_eq!((plan.allocation, plan.shortages.len()), (Allocation::OnDemand, 1));
    }

    #[test]
    fn shared_memory_is_given_to_nobody_twice() {
        // Ten for each of five, and fifty for all.
        let memory = SharedMemory::new(Some(100), 5);
        assert!(memory.grow(0, 60) && !memory.grow(60, 1));
        assert!(memory.grow(0, 10), "another one has its share");
        assert!(!memory.grow(10, 1));
        memory.shrink(60, 20);
        assert!(memory.clone().grow(10, 20) && !memory.grow(30, 1));
        memory.shrink(40, 40);
        memory.shrink(30, 30);
        assert!(memory.grow(0, 60) && !memory.grow(10, 1));
        assert!(SharedMemory::default().grow(0, usize::MAX));
    }
}
