use testbed::{Postgres, database};

#[test]
fn each_test_has_a_database_of_its_own_until_its_guard_drops() {
    let first = database("tests");
    let second = database("tests");
    first.sql("CREATE TABLE t (x int); INSERT INTO t VALUES (1), (2)");
    second.sql("CREATE TABLE t (x int)");
    assert_eq!(first.sql("SELECT sum(x), count(*) FROM t"), "3|2");
    assert_eq!(second.sql("SELECT count(*) FROM t"), "0");

    let name = first.name().to_owned();
    drop(first);
    assert_eq!(
        second.sql(&format!(
            "SELECT count(*) FROM pg_database WHERE datname = '{name}'"
        )),
        "0"
    );
}

#[test]
fn a_server_keeps_its_port_and_its_data_over_kill_9_and_over_a_stop() {
    let server = Postgres::builder().setting("max_connections", "17").start();
    assert_eq!(server.sql("SHOW max_connections"), "17");
    server.sql("CREATE TABLE t (x int); INSERT INTO t VALUES (42)");
    server.kill();
    server.restart();
    assert_eq!(server.sql("SELECT x FROM t"), "42");
    server.stop();
    assert!(std::net::TcpStream::connect(("127.0.0.1", server.port())).is_err());
    server.restart();
    assert_eq!(server.sql("SELECT x FROM t"), "42");
}
