//! A new migration is part of the binary only if the macro that embeds them runs again.

use std::io::Write;

fn main() -> std::io::Result<()> {
    writeln!(
        std::io::stdout().lock(),
        "cargo:rerun-if-changed=migrations"
    )
}
