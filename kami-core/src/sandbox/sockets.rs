//! TCP sockets, and the name lookups that lead to them.
//!
//! A guest that may connect to a name asks for its addresses first. What it is told is pinned for
//! the rest of its call: a connection by that name's grant goes to an address that the lookup gave,
//! and to no other. So a name cannot be granted and an address of the guest's own choice reached,
//! and a DNS entry that changes in between changes nothing. What is said on the connection nobody
//! here knows: where many names share an address, a grant of one is a grant of that address.
//!
//! wasmtime-wasi's own lookup knows only yes and no, so ours stands in its place.

use std::net::{IpAddr, SocketAddr};
use std::sync::{Arc, Mutex, PoisonError};

use tokio::task::JoinHandle;
use wasmtime::StoreContextMut;
use wasmtime::component::{Linker, Resource, ResourceType};
use wasmtime_wasi::p2::bindings::sockets::network::{ErrorCode, IpAddress, Network};
use wasmtime_wasi::p2::{DynPollable, Pollable, subscribe};
use wasmtime_wasi::sockets::SocketAddrUse;

use super::State;
use super::denials::Denials;
use super::names::Names;
use crate::grants::{Denial, DenialRule, Effective, Endpoint, NetAccess};

/// The interface whose functions stand in for those of wasmtime-wasi. Guests that were built for
/// any version that is compatible with it get ours.
const LOOKUP: &str = "wasi:sockets/ip-name-lookup@0.2.12";

/// The most addresses that lookups of one call may pin.
const MAX_PINS: usize = 256;

/// Decides about the sockets of one call.
#[derive(Clone)]
pub(super) struct SocketGate {
    effective: Arc<Effective>,
    denials: Denials,
    names: Names,
    pins: Arc<Mutex<Vec<Pin>>>,
}

/// An address that a name had when this call looked it up.
struct Pin {
    name: String,
    address: IpAddr,
}

impl SocketGate {
    pub(super) fn new(effective: Arc<Effective>, denials: Denials, names: Names) -> Self {
        Self { effective, denials, names, pins: Arc::default() }
    }

    /// Whether a socket may be used in this way; a refusal is remembered.
    pub(super) fn permits(&self, address: SocketAddr, usage: SocketAddrUse) -> bool {
        let decision = match usage {
            // Connecting first binds to no address in particular, which by itself reaches nothing;
            // the question that follows names the address.
            SocketAddrUse::TcpBind if address.ip().is_unspecified() && address.port() == 0 => {
                return true;
            }
            SocketAddrUse::TcpConnect => self.connection(address),
            _ => Err(Denial {
                thing: format!("listening or receiving at {address}"),
                rule: DenialRule::Unsafe,
                line: String::new(),
            }),
        };
        decision.map_err(|denial| self.denials.push(denial)).is_ok()
    }

    /// A connection is permitted by a grant of its address, or of a name that led to it.
    fn connection(&self, address: SocketAddr) -> Result<(), Denial> {
        let pins = self.pins.lock().unwrap_or_else(PoisonError::into_inner);
        let names = pins.iter().filter(|pin| pin.address == address.ip().to_canonical());
        let mut denied = None;
        for pin in names {
            let Some(named) = Endpoint::socket_to_name(&pin.name, address.port()) else { continue };
            let access = NetAccess::socket(&named);
            let decision = self.effective.network(&access);
            match decision.and_then(|()| self.effective.address(&access, address.ip())) {
                Ok(()) => return Ok(()),
                Err(denial) => denied = Some(denial),
            }
        }
        let literal = Endpoint::socket(address);
        let decision = self.effective.network(&NetAccess::socket(&literal));
        decision.map_err(|denial| denied.unwrap_or(denial))
    }

    /// Starts to look up `name`, if sockets to it can be permitted at all.
    fn look_up(&self, name: String) -> Result<Lookup, ErrorCode> {
        // A literal address is its own answer, and pins nothing.
        if let Ok(address) = name.parse::<IpAddr>() {
            return Ok(Lookup::Done(Ok(vec![address].into_iter())));
        }
        self.effective.lookup(&name).map_err(|denial| {
            self.denials.push(denial);
            ErrorCode::AccessDenied
        })?;
        let gate = self.clone();
        Ok(Lookup::Running(tokio::spawn(async move {
            let found = gate.names.look_up(name.clone()).await;
            found.map(|found| gate.pin(&name, found)).map_err(|_| ErrorCode::NameUnresolvable)
        })))
    }

    /// Keeps those of `found` that may be told, and gives them.
    fn pin(&self, name: &str, found: Vec<IpAddr>) -> Vec<IpAddr> {
        let mut pins = self.pins.lock().unwrap_or_else(PoisonError::into_inner);
        let room = MAX_PINS.saturating_sub(pins.len());
        let told: Vec<IpAddr> = found
            .into_iter()
            .filter(|address| self.effective.may_be_told(*address))
            .take(room)
            .collect();
        pins.extend(told.iter().map(|address| Pin { name: name.to_owned(), address: *address }));
        told
    }
}

type Addresses = std::vec::IntoIter<IpAddr>;

/// A lookup that a guest has started.
enum Lookup {
    Running(JoinHandle<Result<Vec<IpAddr>, ErrorCode>>),
    Done(Result<Addresses, ErrorCode>),
}

impl Lookup {
    fn next(&mut self) -> Result<Option<IpAddr>, ErrorCode> {
        match self {
            Self::Running(_) => Err(ErrorCode::WouldBlock),
            Self::Done(addresses) => addresses.as_mut().map(Iterator::next).map_err(|code| *code),
        }
    }
}

#[wasmtime_wasi::async_trait]
impl Pollable for Lookup {
    async fn ready(&mut self) {
        if let Self::Running(task) = self {
            let found = task.await.unwrap_or(Err(ErrorCode::TemporaryResolverFailure));
            *self = Self::Done(found.map(Vec::into_iter));
        }
    }
}

/// A lookup that nobody waits for any more is not begun; one that is under way ends by itself.
impl Drop for Lookup {
    fn drop(&mut self) {
        if let Self::Running(task) = self {
            task.abort();
        }
    }
}

/// Puts our lookup in the place of wasmtime-wasi's.
pub(super) fn link(linker: &mut Linker<State>) -> wasmtime::Result<()> {
    linker.allow_shadowing(true);
    let mut lookup = linker.instance(LOOKUP)?;
    lookup.resource(
        "resolve-address-stream",
        ResourceType::host::<Lookup>(),
        |mut store: StoreContextMut<'_, State>, index| {
            store.data_mut().table.delete(Resource::<Lookup>::new_own(index))?;
            Ok(())
        },
    )?;
    lookup.func_wrap(
        "resolve-addresses",
        |mut store: StoreContextMut<'_, State>, (network, name): (Resource<Network>, String)| {
            let state = store.data_mut();
            // Holding the network is the capability to ask; nothing else is to be had of it.
            state.table.get(&network)?;
            let started = match state.sockets.look_up(name) {
                Ok(lookup) => Ok(state.table.push(lookup)?),
                Err(code) => Err(code),
            };
            Ok((started,))
        },
    )?;
    lookup.func_wrap(
        "[method]resolve-address-stream.resolve-next-address",
        |mut store: StoreContextMut<'_, State>, (lookup,): (Resource<Lookup>,)| {
            let next = store.data_mut().table.get_mut(&lookup)?.next();
            Ok((next.map(|address| address.map(IpAddress::from)),))
        },
    )?;
    lookup.func_wrap(
        "[method]resolve-address-stream.subscribe",
        |mut store: StoreContextMut<'_, State>, (lookup,): (Resource<Lookup>,)| {
            let pollable: Resource<DynPollable> = subscribe(&mut store.data_mut().table, lookup)?;
            Ok((pollable,))
        },
    )?;
    linker.allow_shadowing(false);
    Ok(())
}

#[cfg(test)]
mod tests {
    use super::*;
    use crate::grants::{Capabilities, Grant};

    #[test]
    fn a_name_leads_to_a_special_address_only_at_the_ports_of_its_range() {
        let net = vec!["db.example.com".parse().unwrap(), "10.0.0.0/8:443".parse().unwrap()];
        let requested = Capabilities { net, ..Capabilities::default() };
        let grant = Grant::all(&requested);
        let effective = Arc::new(Effective::new(requested, grant, Vec::new()));
        let gate = SocketGate::new(effective, Denials::new(Arc::new(())), Names::new(None));
        let found: IpAddr = "10.0.0.1".parse().unwrap();
        assert_eq!(gate.pin("db.example.com", vec![found]), [found]);
        let connects = |port| gate.permits(SocketAddr::new(found, port), SocketAddrUse::TcpConnect);
        assert!(connects(443));
        assert!(!connects(5432));
    }
}
