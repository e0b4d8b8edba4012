//! Schemas, the same numbers in every database: number n of one means what number n of another means.

use sqlx::SqlSafeStr;
use sqlx::migrate::{Migration, MigrationType, Migrator};

/// Number, name, and what makes it out of the one before.
pub(super) type Schema = (i64, &'static str, &'static str);

/// The one that this program writes.
pub(super) fn newest(schemas: &[Schema]) -> i64 {
    schemas
        .iter()
        .map(|(number, ..)| *number)
        .max()
        .unwrap_or_default()
}

/// Takes no lock of its own: the caller holds one for its whole transaction.
pub(super) fn migrator(schemas: &[Schema]) -> Migrator {
    let migration = |(number, name, sql): &Schema| {
        let (sql, kind) = (sql.into_sql_str(), MigrationType::Simple);
        Migration::new(*number, (*name).into(), kind, sql, false)
    };
    let mut migrator = Migrator::with_migrations(schemas.iter().map(migration).collect());
    migrator.set_locking(false);
    migrator
}

#[cfg(test)]
mod tests {
    use super::super::{postgres, sqlite};

    #[test]
    fn every_database_has_the_same_schemas() {
        let names = |schemas: &[super::Schema]| -> Vec<_> {
            schemas.iter().map(|(number, name, _)| (*number, *name)).collect()
        };
        assert_eq!(names(&sqlite::SCHEMAS), names(&postgres::SCHEMAS));
        let numbers: Vec<_> = sqlite::SCHEMAS.iter().map(|(number, ..)| *number).collect();
        assert_eq!(numbers, (1..=super::newest(&sqlite::SCHEMAS)).collect::<Vec<_>>());
    }
}
