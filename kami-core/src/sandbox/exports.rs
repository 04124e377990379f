//! A linked component's exports, looked up once, so that each entry goes straight to them.

use wasmtime::Store;
use wasmtime::component::{Instance, InstancePre};

use super::State;
use super::bindings::exports::kami::tool::{completion, prompts, resources, tools};
use super::bindings::v0_1;
use crate::component::{Abi, Component, Interface};

/// A linked component of either contract.
pub(crate) enum Entry {
    V0_1(v0_1::KamiToolPre<State>),
    V0_2(Exports),
}

/// What a component of today's contract exports. All but tools may be missing.
pub(crate) struct Exports {
    linked: InstancePre<State>,
    pub(crate) tools: tools::GuestIndices,
    pub(crate) resources: Option<resources::GuestIndices>,
    pub(crate) prompts: Option<prompts::GuestIndices>,
    pub(crate) completion: Option<completion::GuestIndices>,
}

impl Entry {
    pub(super) fn new(component: &Component, linked: InstancePre<State>) -> wasmtime::Result<Self> {
        match component.abi() {
            Abi::V0_1 => v0_1::KamiToolPre::new(linked).map(Self::V0_1),
            Abi::V0_2 => Exports::new(component, linked).map(Self::V0_2),
        }
    }

    /// Instantiates the component, and does no more.
    pub(crate) async fn instantiate(&self, store: &mut Store<State>) -> wasmtime::Result<()> {
        match self {
            Self::V0_1(pre) => pre.instantiate_async(store).await.map(drop),
            Self::V0_2(exports) => exports.instantiate(store).await.map(drop),
        }
    }
}

impl Exports {
    fn new(component: &Component, linked: InstancePre<State>) -> wasmtime::Result<Self> {
        let has = |interface| component.offers(interface);
        Ok(Self {
            tools: tools::GuestIndices::new(&linked)?,
            resources: has(Interface::Resources)
                .then(|| resources::GuestIndices::new(&linked))
                .transpose()?,
            prompts: has(Interface::Prompts)
                .then(|| prompts::GuestIndices::new(&linked))
                .transpose()?,
            completion: has(Interface::Completion)
                .then(|| completion::GuestIndices::new(&linked))
                .transpose()?,
            linked,
        })
    }

    pub(crate) async fn instantiate(&self, store: &mut Store<State>) -> wasmtime::Result<Instance> {
        self.linked.instantiate_async(store).await
    }
}
