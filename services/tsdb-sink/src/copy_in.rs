//! Rows that are encoded already, sent by COPY.

use crate::domain::copy::{HEADER, TRAILER};
use crate::domain::statements::Statements;
use sqlx::{AssertSqlSafe, Executor, PgConnection};

/// Bytes of one message: the driver keeps a buffer of that size.
const MESSAGE_BYTES: usize = 128 * 1024;

/// Appends rows to a table.
pub(crate) async fn append(
    connection: &mut PgConnection,
    statements: &Statements,
    pieces: &[&[u8]],
) -> Result<(), sqlx::Error> {
    send(connection, &statements.copy, pieces).await
}

/// Adds rows to a table; those whose key is there replace the row.
pub(crate) async fn merge(
    connection: &mut PgConnection,
    statements: &Statements,
    pieces: &[&[u8]],
) -> Result<(), sqlx::Error> {
    connection
        .execute(AssertSqlSafe(statements.create_stage.as_str()))
        .await?;
    send(connection, &statements.copy_stage, pieces).await?;
    connection
        .execute(AssertSqlSafe(statements.merge.as_str()))
        .await?;
    Ok(())
}

async fn send(
    connection: &mut PgConnection,
    statement: &str,
    pieces: &[&[u8]],
) -> Result<(), sqlx::Error> {
    let mut copy = connection.copy_in_raw(statement).await?;
    copy.send(HEADER.as_slice()).await?;
    for piece in pieces {
        for message in piece.chunks(MESSAGE_BYTES) {
            copy.send(message).await?;
        }
    }
    copy.send(TRAILER.as_slice()).await?;
    copy.finish().await?;
    Ok(())
}
