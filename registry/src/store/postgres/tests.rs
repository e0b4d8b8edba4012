//! What is about the server: URLs, databases, notifications, rows written past every program, and a server that dies.

mod faults;
mod following;
mod opening;

use std::time::Instant;

use sqlx::{AssertSqlSafe, Connection as _, PgConnection};

use super::*;
use crate::store::tests::{
    Database, Registry, add_tenant, advance, empty_database, has_postgres, tenant, until,
};

/// Ends the test where this machine has no PostgreSQL server.
macro_rules! needs_postgres {
    ($test:literal) => {
        if !has_postgres(concat!("registry on PostgreSQL: ", $test)) {
            return;
        }
    };
}
use needs_postgres;

async fn sql(url: &str, sql: impl Into<String>) {
    let mut connection = PgConnection::connect(url).await.unwrap();
    let sql = sqlx::raw_sql(AssertSqlSafe(sql.into()));
    sql.execute(&mut connection).await.unwrap();
    connection.close().await.unwrap();
}
