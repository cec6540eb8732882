//! The private OpenSearch node.

use diy_backup_testkit::process::is_running;
use diy_backup_testkit::{ErrorKind, PrivateOpenSearch, skip_unless};

#[test]
fn a_node_keeps_its_data_over_a_crash_and_goes_with_its_value() {
    let mut node = skip_unless!(PrivateOpenSearch::start());
    let url = node.url();
    node.must("PUT", "/things/_doc/1?refresh=true", "{\"a\":1}")
        .unwrap();
    node.kill();
    assert_eq!(node.pid(), None);
    assert_eq!(node.call("GET", "/", "").unwrap_err().kind(), ErrorKind::Io);

    node.restart().unwrap();
    assert_eq!(node.url(), url);
    node.must("GET", "/_cluster/health/things?wait_for_status=yellow", "")
        .unwrap();
    let found = node.must("GET", "/things/_doc/1", "").unwrap();
    assert!(found.contains("\"a\":1"), "{found}");

    let repositories = node.repositories();
    let pid = node.pid().unwrap();
    drop(node);
    assert!(!is_running(pid) && !repositories.exists());
}

#[test]
fn a_refusal_is_an_answer_or_an_error_as_asked() {
    let node = skip_unless!(PrivateOpenSearch::start());
    let (status, answer) = node.call("GET", "/nothing", "").unwrap();
    assert_eq!(status, 404);
    assert!(answer.contains("index_not_found_exception"), "{answer}");
    let refused = node.must("GET", "/nothing", "").unwrap_err();
    assert_eq!(refused.kind(), ErrorKind::Command);
    let location = node.repositories().join("r");
    let repository = format!("{{\"type\":\"fs\",\"settings\":{{\"location\":{location:?}}}}}");
    node.must("PUT", "/_snapshot/r", &repository).unwrap();
}
