//! Documents with parts that are written from the code.

use std::path::{Path, PathBuf};

/// A file of the repository.
pub(crate) fn in_repository(path: &str) -> PathBuf {
    Path::new(env!("CARGO_MANIFEST_DIR"))
        .join("../..")
        .join(path)
}

pub(crate) fn read(path: &Path) -> String {
    std::fs::read_to_string(path).unwrap_or_else(|error| panic!("{}: {error}", path.display()))
}

/// Asserts that the part called `name` of the document is `expected`; with `UPDATE_GOLDEN=1` it is written first.
pub(crate) fn assert_part(path: &Path, name: &str, expected: &str) {
    let mut text = read(path);
    if std::env::var_os("UPDATE_GOLDEN").is_some() {
        let (from, to) = part(path, &text, name);
        if &text[from..to] != expected {
            text.replace_range(from..to, expected);
            std::fs::write(path, &text).unwrap();
        }
    }
    let (from, to) = part(path, &text, name);
    assert_eq!(
        &text[from..to],
        expected,
        "{}: UPDATE_GOLDEN=1 writes {name} anew",
        path.display()
    );
}

/// Where the part between the two comments of `name` begins and ends.
fn part(path: &Path, text: &str, name: &str) -> (usize, usize) {
    let find = |from: usize, what: &str| {
        let at = text[from..].find(what);
        from + at.unwrap_or_else(|| panic!("{}: no {what}", path.display()))
    };
    let from = find(find(0, &format!("<!-- {name}:")), "\n") + 1;
    (from, find(from, &format!("<!-- end of {name} -->")))
}
