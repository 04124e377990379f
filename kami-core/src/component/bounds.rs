//! How much a component may hold, counted in one pass over its bytes before anything compiles it.
//!
//! A compiler's work is not in proportion to the bytes: nesting, instantiation and tables multiply
//! it, and some of it is done by recursion, which ends the whole process where the stack does. So
//! what multiplies is counted here, at every level of nesting together, and refused where there is
//! more than any honest component has. What is left costs a compiler no more than a bounded amount
//! for each byte; it is bounded in time and memory where it compiles
//! (see [`Compiler`](crate::engine::Compiler)).
//!
//! The pass keeps a few counters and one entry for each level and each nested component. Instructions
//! are not read. A count in the file is compared with its bound before anything is read by it, and
//! memory is only taken for what was read, so that a count which promises more than there is costs
//! nothing.
//!
//! For comparison stand two components that are as large as they come: CPython with its standard
//! library and extension modules (18 MB), and SpiderMonkey (10 MB). wasmparser and wasmtime have
//! limits of their own, which we rely on where they are tight:
//! 1,000 parameters and results, 10,000 fields and cases, 65,520 targets of a `br_table`.

use std::ops::Range;

use wasmparser::{
    ComponentAlias, ComponentExternalKind, ComponentInstance, ComponentOuterAliasKind,
    ComponentType, ComponentTypeDeclaration, ComponentTypeRef, CoreType, Element, ElementItems,
    ElementKind, Encoding, FunctionBody, InstanceTypeDeclaration, Parser, Payload, SectionLimited,
};

use super::ComponentError;

/// The most of one kind of thing, counted over the whole file unless it says otherwise.
#[derive(Debug)]
struct Bound {
    what: &'static str,
    most: u64,
}

/// Sections are cheap, and linkers write few: CPython's component has 660.
const SECTIONS: Bound = Bound { what: "sections", most: 100_000 };

/// Compilers recurse into what is nested, or keep all of it at once: 100,000 components within each
/// other, 1.2 MB, took wasmtime 7 GB. Ordinary components have two levels, composed ones some more.
const DEPTH: Bound = Bound { what: "levels of modules and components", most: 16 };

/// CPython, linked dynamically, has seventeen.
const MODULES: Bound = Bound { what: "modules and components", most: 500 };

/// Each type is read into a hundred times the bytes that it has, one item of a section at a time; so
/// this is looked at before any is read. CPython has 18 KB of them.
const TYPE_BYTES: Bound = Bound { what: "bytes of types", most: 2 << 20 };

/// CPython with all of WASI has 1,300 at the outside of types.
const TYPES: Bound = Bound { what: "types and declarations in types", most: 100_000 };

/// The reader recurses into types, and so does wasmtime, without a limit of its own: 100,000 types
/// within each other, 300 KB, overflowed its stack. Ordinary interfaces have two.
const TYPE_DEPTH: Bound = Bound { what: "levels of types", most: 20 };

/// Each takes a compiler 70 µs and 6 KB even if it is empty. CPython has 13,000.
const FUNCTIONS: Bound = Bound { what: "functions", most: 150_000 };

/// The compiler's time grows faster than a body: 100 KB take it a second, 500 KB nineteen, and a
/// megabyte more than it gets. The largest in CPython has 430 KB.
const BODY_BYTES: Bound = Bound { what: "bytes in one function", most: 1 << 20 };

/// The format permits 50,000 in six bytes. CPython has 270 in one, at the most.
const LOCALS: Bound = Bound { what: "local variables in one function", most: 20_000 };

/// What is permitted for one function must not be there for each: 50,000,000 took four seconds.
const ALL_LOCALS: Bound = Bound { what: "local variables", most: 10_000_000 };

/// A table of a few bytes has a native image of up to 4 MB: 50,000 of them took more than 7 GB. No
/// more than eight can be instantiated.
const TABLES: Bound = Bound { what: "tables", most: 64 };

/// No more than one can be instantiated; a composed component may hold some for its parts.
const MEMORIES: Bound = Bound { what: "memories", most: 64 };

/// Shared libraries keep an address in each: CPython has 900.
const GLOBALS: Bound = Bound { what: "globals", most: 100_000 };

/// Rust writes a handful, CPython has 1,900, SpiderMonkey 6,700.
const SEGMENTS: Bound = Bound { what: "data and element segments", most: 100_000 };

/// Each takes the host sixteen bytes in every instance, which no limit on memory counts. No compiler of
/// languages without garbage collection writes them.
const PASSIVE: Bound = Bound { what: "elements of passive segments", most: 4_096 };

/// What an instance of a module takes of the host beside its memory and tables: 16 bytes for a global,
/// 32 for what it imports, exports or lists in a segment. A pool has room for a quarter of it, and
/// without a pool nothing else bounds it.
const INSTANCE_BYTES: Bound = Bound { what: "bytes in each instance of a module", most: 1 << 20 };

/// Shared libraries list every symbol: CPython has 8,000 of them.
const NAMES: Bound = Bound { what: "imports, exports and aliases", most: 200_000 };

/// The names of C++ templates are the longest that compilers write; the longest of CPython has 162 bytes.
const NAME_BYTES: Bound = Bound { what: "bytes in one name", most: 16 << 10 };

/// Each joins a component with the host or with another, by machine code of its own.
const CANONICAL: Bound = Bound { what: "lifted and lowered functions", most: 20_000 };

/// Counted as a compiler does, who writes out what a component instantiates each time that it is
/// instantiated itself: twenty components, each with two of the one before it, are a million.
const INSTANCES: Bound = Bound { what: "instances, those in instances counted", most: 2_000 };

/// Debug information is the largest, and almost all of some unoptimised builds.
const CUSTOM_BYTES: Bound = Bound { what: "bytes in one custom section", most: 96 << 20 };

impl Bound {
    fn check(&self, found: u64) -> Result<(), ComponentError> {
        if found > self.most {
            let Self { what, most } = *self;
            return Err(ComponentError::TooMany { what, found, most });
        }
        Ok(())
    }

    /// Adds to what was counted so far. A count is no more than 32 bits, and so are its additions.
    fn add(&self, total: &mut u64, count: impl Into<u64>) -> Result<(), ComponentError> {
        *total = total.saturating_add(count.into());
        self.check(*total)
    }
}

/// Reads `bytes` at every level of nesting, and refuses what is beyond a bound.
///
/// # Errors
/// Says which bound, and how much there is; or that the format is broken.
///
/// # Security
/// Takes time in proportion to the bytes, and memory in proportion to the bounds.
pub(super) fn check(bytes: &[u8]) -> Result<(), ComponentError> {
    let mut tally = Tally::default();
    for payload in Parser::new(0).parse_all(bytes) {
        tally.count(payload.map_err(ComponentError::Malformed)?)?;
    }
    Ok(())
}

/// What was found so far.
#[derive(Debug, Default)]
struct Tally {
    levels: Vec<Level>,
    sections: u64,
    modules: u64,
    type_bytes: u64,
    types: u64,
    functions: u64,
    locals: u64,
    tables: u64,
    memories: u64,
    globals: u64,
    segments: u64,
    passive: u64,
    names: u64,
    canonical: u64,
}

/// A module or component that has begun and not ended.
#[derive(Debug)]
struct Level {
    encoding: Encoding,
    /// The components that can be named here, each as the number of instances that one of it makes;
    /// `None` for those that somebody else will hand in.
    components: Vec<Option<u64>>,
    instances: u64,
    /// What an instance takes, of a module.
    weight: u64,
}

impl Tally {
    fn count(&mut self, payload: Payload<'_>) -> Result<(), ComponentError> {
        match payload {
            Payload::Version { encoding, .. } => return self.begin(encoding),
            Payload::End(_) => return self.end(),
            Payload::CodeSectionEntry(body) => return self.body(&body),
            _ => SECTIONS.add(&mut self.sections, 1u32)?,
        }
        match payload {
            Payload::TypeSection(types) => self.core_types(&types),
            Payload::CoreTypeSection(types) => self.component_core_types(types),
            Payload::ComponentTypeSection(types) => self.component_types(types),
            Payload::FunctionSection(types) => FUNCTIONS.add(&mut self.functions, types.count()),
            Payload::TableSection(tables) => TABLES.add(&mut self.tables, tables.count()),
            Payload::MemorySection(memories) => MEMORIES.add(&mut self.memories, memories.count()),
            Payload::GlobalSection(globals) => {
                GLOBALS.add(&mut self.globals, globals.count())?;
                self.weigh(globals.count(), 16)
            }
            Payload::ElementSection(elements) => {
                SEGMENTS.add(&mut self.segments, elements.count())?;
                each(elements, |element| self.element(&element))
            }
            Payload::DataSection(s) => SEGMENTS.add(&mut self.segments, s.count()),
            Payload::DataCountSection { count, .. } => SEGMENTS.check(count.into()),
            Payload::ImportSection(imports) => {
                NAMES.check(imports.count().into())?;
                self.weigh(imports.count(), 32)?;
                each(imports.into_imports(), |import| {
                    self.name(import.module)?;
                    self.name(import.name)
                })
            }
            Payload::ExportSection(exports) => {
                NAMES.check(exports.count().into())?;
                self.weigh(exports.count(), 32)?;
                each(exports, |export| self.name(export.name))
            }
            Payload::InstanceSection(instances) => self.instances(instances.count().into()),
            Payload::ComponentInstanceSection(instances) => {
                each(instances, |instance| self.component_instance(&instance))
            }
            Payload::ComponentAliasSection(aliases) => each(aliases, |alias| self.alias(&alias)),
            Payload::ComponentCanonicalSection(functions) => {
                CANONICAL.add(&mut self.canonical, functions.count())
            }
            Payload::ComponentImportSection(imports) => each(imports, |import| {
                if let ComponentTypeRef::Component(_) = import.ty {
                    self.level().components.push(None);
                }
                self.name(import.name.name)
            }),
            Payload::ComponentExportSection(exports) => each(exports, |export| {
                if export.kind == ComponentExternalKind::Component {
                    // An export is another name of the same component.
                    let component = self.component(0, export.index);
                    self.level().components.push(component);
                }
                self.name(export.name.name)
            }),
            Payload::CustomSection(section) => {
                NAME_BYTES.check(section.name().len() as u64)?;
                CUSTOM_BYTES.check(section.data().len() as u64)
            }
            _ => Ok(()),
        }
    }

    fn begin(&mut self, encoding: Encoding) -> Result<(), ComponentError> {
        MODULES.add(&mut self.modules, 1u32)?;
        self.levels.push(Level { encoding, components: Vec::new(), instances: 0, weight: 0 });
        DEPTH.check(self.levels.len() as u64)
    }

    fn end(&mut self) -> Result<(), ComponentError> {
        let ended = self.levels.pop();
        if let Some(Level { encoding: Encoding::Component, instances, .. }) = ended
            && !self.levels.is_empty()
        {
            self.level().components.push(Some(instances.saturating_add(1)));
        }
        Ok(())
    }

    /// The innermost level. The parser gives the beginning of one before what is in it.
    fn level(&mut self) -> &mut Level {
        if self.levels.is_empty() {
            let encoding = Encoding::Component;
            self.levels.push(Level { encoding, components: Vec::new(), instances: 0, weight: 0 });
        }
        let innermost = self.levels.len() - 1;
        &mut self.levels[innermost]
    }

    /// The component `index` of the level that lies `outward` around this one.
    fn component(&self, outward: u32, index: u32) -> Option<u64> {
        let level = self.levels.iter().rev().nth(outward as usize)?;
        level.components.get(index as usize).copied().flatten()
    }

    fn body(&mut self, body: &FunctionBody<'_>) -> Result<(), ComponentError> {
        BODY_BYTES.check(length(&body.range()))?;
        let mut locals = 0;
        for group in body.get_locals_reader().map_err(ComponentError::Malformed)? {
            let (count, _) = group.map_err(ComponentError::Malformed)?;
            LOCALS.add(&mut locals, count)?;
        }
        ALL_LOCALS.add(&mut self.locals, locals)
    }

    /// Adds what so many things take in each instance of the module that is read.
    fn weigh(&mut self, count: u32, bytes: u64) -> Result<(), ComponentError> {
        INSTANCE_BYTES.add(&mut self.level().weight, u64::from(count) * bytes)
    }

    fn element(&mut self, element: &Element<'_>) -> Result<(), ComponentError> {
        let count = match &element.items {
            ElementItems::Functions(functions) => functions.count(),
            ElementItems::Expressions(_, expressions) => expressions.count(),
        };
        self.weigh(count, 32)?;
        match element.kind {
            ElementKind::Passive => PASSIVE.add(&mut self.passive, count),
            ElementKind::Active { .. } | ElementKind::Declared => Ok(()),
        }
    }

    fn core_types<T>(&mut self, types: &SectionLimited<'_, T>) -> Result<(), ComponentError> {
        TYPE_BYTES.add(&mut self.type_bytes, length(&types.range()))?;
        TYPES.add(&mut self.types, types.count())
    }

    fn component_core_types(
        &mut self,
        types: SectionLimited<'_, CoreType<'_>>,
    ) -> Result<(), ComponentError> {
        self.core_types(&types)?;
        each(types, |ty| self.core_type(&ty))
    }

    fn component_types(
        &mut self,
        types: SectionLimited<'_, ComponentType<'_>>,
    ) -> Result<(), ComponentError> {
        self.core_types(&types)?;
        each(types, |ty| self.declared(&ty, 1))
    }

    /// Counts what a type declares. The reader has bounded the recursion already.
    fn declared(&mut self, ty: &ComponentType<'_>, depth: u64) -> Result<(), ComponentError> {
        TYPE_DEPTH.check(depth)?;
        match ty {
            ComponentType::Component(declarations) => {
                TYPES.add(&mut self.types, declarations.len() as u64)?;
                declarations.iter().try_for_each(|declaration| match declaration {
                    ComponentTypeDeclaration::CoreType(ty) => self.core_type(ty),
                    ComponentTypeDeclaration::Type(ty) => self.declared(ty, depth + 1),
                    ComponentTypeDeclaration::Import(import) => self.name(import.name.name),
                    ComponentTypeDeclaration::Export { name, .. } => self.name(name.name),
                    ComponentTypeDeclaration::Alias(_) => Ok(()),
                })
            }
            ComponentType::Instance(declarations) => {
                TYPES.add(&mut self.types, declarations.len() as u64)?;
                declarations.iter().try_for_each(|declaration| match declaration {
                    InstanceTypeDeclaration::CoreType(ty) => self.core_type(ty),
                    InstanceTypeDeclaration::Type(ty) => self.declared(ty, depth + 1),
                    InstanceTypeDeclaration::Export { name, .. } => self.name(name.name),
                    InstanceTypeDeclaration::Alias(_) => Ok(()),
                })
            }
            _ => Ok(()),
        }
    }

    fn core_type(&mut self, ty: &CoreType<'_>) -> Result<(), ComponentError> {
        match ty {
            CoreType::Module(declarations) => TYPES.add(&mut self.types, declarations.len() as u64),
            CoreType::Rec(group) => TYPES.add(&mut self.types, group.types().len() as u64),
        }
    }

    fn name(&mut self, name: &str) -> Result<(), ComponentError> {
        NAME_BYTES.check(name.len() as u64)?;
        NAMES.add(&mut self.names, 1u32)
    }

    fn alias(&mut self, alias: &ComponentAlias<'_>) -> Result<(), ComponentError> {
        match *alias {
            ComponentAlias::Outer { kind: ComponentOuterAliasKind::Component, count, index } => {
                let component = self.component(count, index);
                self.level().components.push(component);
                NAMES.add(&mut self.names, 1u32)
            }
            ComponentAlias::InstanceExport { kind, name, .. } => {
                if kind == ComponentExternalKind::Component {
                    self.level().components.push(None);
                }
                self.name(name)
            }
            ComponentAlias::CoreInstanceExport { name, .. } => self.name(name),
            ComponentAlias::Outer { .. } => NAMES.add(&mut self.names, 1u32),
        }
    }

    fn component_instance(
        &mut self,
        instance: &ComponentInstance<'_>,
    ) -> Result<(), ComponentError> {
        match instance {
            ComponentInstance::Instantiate { component_index, .. } => {
                // What is handed in could be anything, and what it makes cannot be counted.
                let count = self.component(0, *component_index);
                self.instances(count.ok_or(ComponentError::ForeignInstance)?)
            }
            ComponentInstance::FromExports(_) => self.instances(1),
        }
    }

    fn instances(&mut self, count: u64) -> Result<(), ComponentError> {
        INSTANCES.add(&mut self.level().instances, count)
    }
}

/// Does something with each item of a section, up to the first that is broken or too much.
fn each<T>(
    items: impl IntoIterator<Item = Result<T, wasmparser::BinaryReaderError>>,
    mut with: impl FnMut(T) -> Result<(), ComponentError>,
) -> Result<(), ComponentError> {
    items.into_iter().try_for_each(|item| with(item.map_err(ComponentError::Malformed)?))
}

fn length(range: &Range<u64>) -> u64 {
    range.end.saturating_sub(range.start)
}
