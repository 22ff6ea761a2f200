//! A document that many filters look at.
//!
//! Owns the values of the paths that were looked up, so that each is found and read once,
//! however many filters ask for it.
#![deny(clippy::disallowed_methods, clippy::disallowed_types)]

use std::cell::RefCell;

use super::Document;
use super::path::Path;
use super::value::Field;

/// Paths whose values are kept; of others they are looked up each time.
const MOST: usize = 64;

/// What was looked up in a document.
#[derive(Debug)]
pub(crate) struct Memo<'d> {
    document: &'d dyn Document,
    seen: RefCell<Vec<(Path, Vec<Field<'d>>)>>,
}

impl<'d> Memo<'d> {
    pub(crate) fn new(document: &'d dyn Document) -> Self {
        Self { document, seen: RefCell::default() }
    }

    /// Sees to it that the values of a path are kept; not while others are being shown.
    fn remember(&self, path: &Path) {
        let Ok(mut seen) = self.seen.try_borrow_mut() else { return };
        if seen.len() < MOST && !seen.iter().any(|(known, _)| known == path) {
            let mut found = Vec::new();
            self.document.look_up(path, &mut found);
            seen.push((path.clone(), found));
        }
    }
}

impl Document for Memo<'_> {
    fn look_up<'a>(&'a self, path: &Path, found: &mut Vec<Field<'a>>) {
        self.document.look_up(path, found);
    }

    fn show(&self, path: &Path, see: &mut dyn FnMut(&[Field<'_>])) {
        let known = |seen: &Vec<(Path, Vec<Field<'_>>)>| seen.iter().position(|(known, _)| known == path);
        let mut place = known(&self.seen.borrow());
        if place.is_none() {
            self.remember(path);
            place = known(&self.seen.borrow());
        }
        let seen = self.seen.borrow();
        match place.and_then(|place| seen.get(place)) {
            Some((_, values)) => see(values),
            None => {
                drop(seen);
                self.document.show(path, see);
            }
        }
    }
}

#[cfg(test)]
mod tests {
    use std::cell::Cell;

    use super::*;

    /// Has every path, and counts how often it is asked.
    #[derive(Default)]
    struct Counting(Cell<u32>);

    impl Document for Counting {
        fn look_up<'a>(&'a self, _: &Path, found: &mut Vec<Field<'a>>) {
            self.0.set(self.0.get() + 1);
            found.push(Field::number(b"7"));
        }
    }

    #[test]
    fn each_path_is_looked_up_once() {
        let document = Counting::default();
        let memo = Memo::new(&document);
        for path in ["/a", "/b", "/a", "/b", "/a"] {
            let mut shown = Vec::new();
            memo.show(&Path::parse(path).unwrap(), &mut |values| {
                shown = values.iter().map(|v| format!("{v:?}")).collect();
            });
            assert_eq!(shown.len(), 1);
        }
        assert_eq!(document.0.get(), 2);
        let (a, c) = (Path::parse("/a").unwrap(), Path::parse("/c").unwrap());
        let mut both = 0;
        memo.show(&a, &mut |left| memo.show(&c, &mut |right| both = left.len() + right.len()));
        assert_eq!(both, 2, "one within the other");
    }
}
