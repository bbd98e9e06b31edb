//! The SQL of a table, made from its definition.

use super::table::{Column, Table};

/// A table's statements, made once.
#[derive(Clone, Debug)]
pub struct Statements {
    /// Appends rows.
    pub copy: String,
    /// Makes the session's own table for rows that may replace others.
    pub create_stage: String,
    /// Fills it.
    pub copy_stage: String,
    /// Moves its rows: a row of the same key is replaced, unless it has a higher revision.
    pub merge: String,
}

impl Statements {
    /// Those of `table`.
    pub fn new(table: Table) -> Self {
        let name = table.name();
        let columns = list(&table.columns());
        let key = table.key().join(", ");
        let newest_first = table
            .revision()
            .map_or_else(String::new, |column| format!("{column} DESC, "));
        let keep_higher = table.revision().map_or_else(String::new, |column| {
            format!(" WHERE {name}.{column} <= excluded.{column}")
        });
        let replaced: Vec<String> = table
            .columns()
            .iter()
            .filter(|column| !table.key().contains(&column.name.as_ref()))
            .map(|column| format!("{0} = excluded.{0}", column.name))
            .collect();
        Self {
            copy: format!("COPY {name} ({columns}) FROM STDIN (FORMAT binary)"),
            create_stage: format!(
                "CREATE TEMPORARY TABLE IF NOT EXISTS stage_{name} (LIKE {name}) ON COMMIT DELETE ROWS"
            ),
            copy_stage: format!("COPY pg_temp.stage_{name} ({columns}) FROM STDIN (FORMAT binary)"),
            // Within one batch the highest revision counts, and among equals the one that came last.
            merge: format!(
                "INSERT INTO {name} ({columns}) SELECT DISTINCT ON ({key}) {columns} FROM pg_temp.stage_{name} \
                 ORDER BY {key}, {newest_first}ctid DESC ON CONFLICT ({key}) DO UPDATE SET {}{keep_higher}",
                replaced.join(", ")
            ),
        }
    }
}

/// Creates `table` and its indexes where they are missing. `partitioned`: by ranges of time, each a table of its own.
pub fn create(table: Table, partitioned: bool) -> Vec<String> {
    let name = table.name();
    let definitions: Vec<String> = table
        .columns()
        .iter()
        .map(|column| {
            let not_null = if column.not_null { " NOT NULL" } else { "" };
            format!("{} {}{not_null}", column.name, column.sql_type.name())
        })
        .collect();
    let definition = definitions.join(", ");
    let tail = if partitioned {
        format!(" PARTITION BY RANGE ({})", table.time_column())
    } else {
        String::new()
    };
    let mut statements = vec![format!(
        "CREATE TABLE IF NOT EXISTS {name} ({definition}, PRIMARY KEY ({})){tail}",
        table.key().join(", ")
    )];
    if partitioned {
        statements.push(format!(
            "CREATE TABLE IF NOT EXISTS {name}_default PARTITION OF {name} DEFAULT"
        ));
    }
    statements.extend(table.indexes().iter().map(|(suffix, columns)| {
        format!("CREATE INDEX IF NOT EXISTS {name}_{suffix}_idx ON {name} ({columns})")
    }));
    statements
}

/// Adds a column that this version knows and an older one did not.
pub fn add_column(table: Table, column: &Column) -> String {
    format!(
        "ALTER TABLE {} ADD COLUMN IF NOT EXISTS {} {}",
        table.name(),
        column.name,
        column.sql_type.name()
    )
}

fn list(columns: &[Column]) -> String {
    let names: Vec<&str> = columns.iter().map(|column| column.name.as_ref()).collect();
    names.join(", ")
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn a_window_is_replaced_by_an_equal_or_higher_revision_only() {
        let merge = Statements::new(Table::OneMinute).merge;
        assert!(merge.contains("ORDER BY gpu_id, window_start, revision DESC, ctid DESC"));
        assert!(
            merge.ends_with(" WHERE gpu_metrics_1min.revision <= excluded.revision"),
            "{merge}"
        );
        assert!(!merge.contains("gpu_id = excluded.gpu_id"), "{merge}");
        let scores = Statements::new(Table::Scores).merge;
        assert!(scores.contains("ORDER BY gpu_id, time, ctid DESC"));
        assert!(!scores.contains("WHERE"), "{scores}");
    }

    #[test]
    fn a_partitioned_table_has_a_place_for_every_time() {
        let create = create(Table::Readings, true);
        assert!(create[0].ends_with("PARTITION BY RANGE (time)"));
        assert!(create[1].ends_with("PARTITION OF gpu_metrics DEFAULT"));
        let flat = super::create(Table::Readings, false);
        assert_eq!(flat.len(), 1);
        assert!(flat[0].ends_with("PRIMARY KEY (gpu_id, time))"), "{flat:?}");
    }
}
