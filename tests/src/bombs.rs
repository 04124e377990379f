//! Artifacts that cost far more than they weigh, put together byte by byte.
//!
//! Each bomb is a run of sections that a component may have between its own and ours, so that
//! [`planted`] makes an artifact of it which is sound but for the bomb.

use kami_core::component::Artifact;

/// What begins a core module.
const MODULE: &[u8] = b"\0asm\x01\0\0\0";

/// What begins a component.
const COMPONENT: &[u8] = b"\0asm\x0d\0\x01\0";

/// Puts sections between the component of `artifact` and what follows it.
pub fn planted(artifact: &Artifact, sections: &[u8]) -> Vec<u8> {
    let (component, rest) = artifact.bytes().split_at(artifact.component().bytes().len());
    [component, sections, rest].concat()
}

/// A number as LEB128.
pub fn number(mut value: usize) -> Vec<u8> {
    let mut bytes = Vec::new();
    loop {
        let low = (value & 0x7f) as u8;
        value >>= 7;
        bytes.push(if value == 0 { low } else { low | 0x80 });
        if value == 0 {
            return bytes;
        }
    }
}

/// Bytes with their length before them.
pub fn sized(bytes: &[u8]) -> Vec<u8> {
    [&number(bytes.len()), bytes].concat()
}

/// A section.
pub fn section(id: u8, contents: &[u8]) -> Vec<u8> {
    [&[id][..], &sized(contents)].concat()
}

/// A section of `count` times the same item, which may be a lie about how many are there.
pub fn items(id: u8, count: usize, item: &[u8], there: usize) -> Vec<u8> {
    section(id, &[number(count), item.repeat(there)].concat())
}

/// A core module as a section of a component.
pub fn module(sections: &[Vec<u8>]) -> Vec<u8> {
    section(1, &[MODULE, &sections.concat()].concat())
}

/// A component as a section of another.
pub fn component(sections: &[Vec<u8>]) -> Vec<u8> {
    section(4, &[COMPONENT, &sections.concat()].concat())
}

/// A core module with `count` functions without parameters, all of the same body.
pub fn functions(count: usize, body: &[u8]) -> Vec<u8> {
    module(&[
        items(1, 1, &[0x60, 0, 0], 1),
        items(3, count, &[0], count),
        items(10, count, &sized(body), count),
    ])
}

/// As many globals in a core module: `i64`, each zero.
pub fn globals(count: usize) -> Vec<u8> {
    module(&[items(6, count, &[0x7e, 0, 0x42, 0, 0x0b], count)])
}

/// As many elements in a passive segment of a core module: its one function, again and again.
pub fn passive_elements(count: usize) -> Vec<u8> {
    let segment = [&[1, 0][..], &number(count), &vec![0; count]].concat();
    module(&[
        items(1, 1, &[0x60, 0, 0], 1),
        items(3, 1, &[0], 1),
        items(9, 1, &segment, 1),
        items(10, 1, &sized(&body(&[])), 1),
    ])
}

/// As many types in a core module: `func`.
pub fn core_types(count: usize) -> Vec<u8> {
    module(&[items(1, count, &[0x60, 0, 0], count)])
}

/// As many types in the component: `string`.
pub fn types(count: usize) -> Vec<u8> {
    items(7, count, &[0x73], count)
}

/// One instance type that declares as many types.
pub fn declarations(count: usize) -> Vec<u8> {
    items(7, 1, &[&[0x42][..], &number(count), &[1, 0x73].repeat(count)].concat(), 1)
}

/// Instance types within instance types.
pub fn nested_types(depth: usize) -> Vec<u8> {
    let mut contents = vec![1];
    contents.extend([0x42, 1, 1].repeat(depth));
    contents.extend([0x42, 0]);
    section(7, &contents)
}

/// Components within components.
pub fn nested_components(depth: usize) -> Vec<u8> {
    // From the inside, whose length every level around it has to tell; written from the end.
    let mut reversed: Vec<u8> = Vec::new();
    for _ in 0..depth {
        reversed.extend(COMPONENT.iter().rev());
        let length = number(reversed.len());
        reversed.extend(length.iter().rev());
        reversed.push(4);
    }
    reversed.reverse();
    reversed
}

/// A chain of components, each of which instantiates the one before it `fan` times, within one
/// component that is instantiated. It is the second one of the component in which it is planted.
pub fn doubling(links: usize, fan: usize) -> Vec<u8> {
    let mut chain = component(&[]);
    for link in 0..links {
        // An alias of the one before, from one level further out; it is the first one in here.
        let alias = items(6, 1, &[&[0x04, 0x02, 1][..], &number(link)].concat(), 1);
        chain.extend(component(&[alias, items(5, fan, &[0x00, 0, 0], fan)]));
    }
    chain.extend(items(5, 1, &[&[0x00][..], &number(links), &[0]].concat(), 1));
    let instance = items(5, 1, &[0x00, 1, 0], 1);
    [component(&[chain]), instance].concat()
}

/// An import of the component whose name has as many bytes.
pub fn long_import(length: usize) -> Vec<u8> {
    // An instance of the type before it, which is empty.
    items(10, 1, &[&[0x00][..], &sized(&vec![b'a'; length]), &[0x05, 0]].concat(), 1)
}

/// An export of a core module whose name has as many bytes.
pub fn long_export(length: usize) -> Vec<u8> {
    module(&[
        items(5, 1, &[0, 1], 1),
        items(7, 1, &[&sized(&vec![b'a'; length])[..], &[2, 0]].concat(), 1),
    ])
}

/// A body without locals.
pub fn body(code: &[u8]) -> Vec<u8> {
    [&[0][..], code, &[0x0b]].concat()
}

/// A body with as many locals, and nothing to do.
pub fn locals(count: usize) -> Vec<u8> {
    [&[1][..], &number(count), &[0x7f, 0x0b]].concat()
}

/// A body with one `br_table` of as many targets.
pub fn br_table(targets: usize) -> Vec<u8> {
    // In a block: i32.const 0, br_table.
    let code = [&[0x02, 0x40, 0x41, 0, 0x0e][..], &number(targets), &vec![0; targets], &[0, 0x0b]];
    body(&code.concat())
}

/// A body of about as many bytes, all of which the compiler has to think about: calls of itself
/// between blocks that may be left.
pub fn busy(bytes: usize) -> Vec<u8> {
    // block; i32.const 0; br_if 0; call 0; end
    body(&[0x02, 0x40, 0x41, 0, 0x0d, 0, 0x10, 0, 0x0b].repeat(bytes / 9))
}
