use std::io::{ErrorKind, Read as _};
use std::time::Duration;

use diy_backup_testkit::Simulator;
use diy_backup_testkit::simulator::{CallKind, Fault, FaultBody, FaultKind, Times, When};

use crate::http::{lock, request, unlock};

fn simulator() -> Simulator {
    Simulator::builder().start_blocking().expect("it starts")
}

#[test]
fn a_status_comes_with_the_body_that_was_asked_for() {
    let simulator = simulator();
    for (status, body, content_type) in [
        (500, FaultBody::Json, Some("application/json")),
        (502, FaultBody::Html, Some("text/html")),
        (409, FaultBody::Empty, None),
    ] {
        simulator.inject(Fault::once(
            CallKind::Status,
            FaultKind::Status { status, body },
        ));
        let reply = request(&simulator, "GET", "/status").send();
        assert_eq!(reply.status, status);
        match content_type {
            Some(name) => assert!(reply.head.contains(&format!("content-type: {name}"))),
            None => assert!(reply.body.is_empty()),
        }
    }
    assert_eq!(request(&simulator, "GET", "/status").send().status, 200);
}

#[test]
fn a_fault_before_the_call_has_no_effect_and_one_after_it_has() {
    let simulator = simulator();
    let fault = Fault::status_once(CallKind::Lock, 503);
    simulator.inject(fault);
    assert_eq!(lock(&simulator).status, 503);
    assert!(!simulator.is_locked());
    simulator.inject(Fault {
        when: When::After,
        ..fault
    });
    assert_eq!(lock(&simulator).status, 503);
    assert!(simulator.is_locked());
}

#[test]
fn a_reset_is_a_reset_and_loses_the_answer_only_when_it_comes_after() {
    let simulator = simulator();
    for (when, locked) in [(When::Before, false), (When::After, true)] {
        simulator.inject(Fault {
            when,
            ..Fault::once(CallKind::Lock, FaultKind::Reset)
        });
        let (received, ended) = request(&simulator, "POST", "/mvc/maintenance/lock")
            .administrator()
            .json()
            .send_raw();
        assert_eq!(received, b"");
        assert_eq!(ended.unwrap_err().kind(), ErrorKind::ConnectionReset);
        assert_eq!(simulator.is_locked(), locked);
    }
    assert!(simulator.requests().iter().all(|r| r.status.is_none()));
}

#[test]
fn a_call_that_stalls_ends_without_an_answer() {
    let simulator = simulator();
    let stall = FaultKind::Stall(Duration::from_millis(10));
    simulator.inject(Fault::once(CallKind::Status, stall));
    let (received, _) = request(&simulator, "GET", "/status").send_raw();
    assert_eq!(received, b"");
    assert_eq!(request(&simulator, "GET", "/status").send().status, 200);
}

#[test]
fn half_a_body_is_less_than_its_length_promises() {
    let simulator = simulator();
    simulator.inject(Fault {
        when: When::After,
        ..Fault::once(CallKind::Lock, FaultKind::HalfBody)
    });
    let (received, _) = request(&simulator, "POST", "/mvc/maintenance/lock")
        .administrator()
        .json()
        .send_raw();
    let text = String::from_utf8(received).unwrap().to_ascii_lowercase();
    let (head, body) = text.split_once("\r\n\r\n").unwrap();
    let promised: usize = head
        .lines()
        .find_map(|line| line.strip_prefix("content-length: "))
        .unwrap()
        .parse()
        .unwrap();
    assert!(head.starts_with("http/1.1 202"));
    assert!(!body.is_empty() && body.len() < promised);
    assert!(simulator.is_locked());
}

#[test]
fn answers_can_be_spoiled_in_their_form() {
    let simulator = simulator();
    let get = || request(&simulator, "GET", "/status").send();
    simulator.inject(Fault::once(CallKind::Status, FaultKind::MalformedJson));
    let reply = get();
    assert_eq!(reply.status, 200);
    serde_json::from_str::<serde_json::Value>(&reply.body).unwrap_err();
    simulator.inject(Fault::once(CallKind::Status, FaultKind::HtmlOk));
    let reply = get();
    assert_eq!(reply.status, 200);
    assert!(reply.head.contains("text/html"));
    simulator.inject(Fault::once(CallKind::Status, FaultKind::LoginRedirect));
    assert_eq!(get().status, 302);
}

#[tokio::test]
async fn a_call_that_hangs_is_not_answered_even_when_it_has_its_effect() {
    let simulator = simulator();
    simulator.inject(Fault {
        when: When::After,
        ..Fault::once(CallKind::Lock, FaultKind::Hang)
    });
    let mut stream = request(&simulator, "POST", "/mvc/maintenance/lock")
        .administrator()
        .json()
        .send_only();
    simulator.wait_until(Simulator::is_locked).await.unwrap();
    // A call on another connection comes and goes meanwhile.
    assert_eq!(request(&simulator, "GET", "/status").send().status, 200);
    stream.set_nonblocking(true).unwrap();
    let nothing = stream.read(&mut [0; 1]).unwrap_err();
    assert_eq!(nothing.kind(), ErrorKind::WouldBlock);
    assert_eq!(simulator.requests()[0].status, None);
}

#[test]
fn a_fault_can_be_removed_and_says_how_often_it_struck() {
    let simulator = simulator();
    let get = || request(&simulator, "GET", "/status").send().status;
    let fault = FaultKind::Status {
        status: 502,
        body: FaultBody::Html,
    };
    let id = simulator.inject(Fault::always(CallKind::Any, fault));
    assert_eq!((get(), get()), (502, 502));
    assert_eq!(simulator.struck(id), 2);
    simulator.remove_fault(id);
    assert_eq!(get(), 200);
    simulator.inject(Fault {
        times: Times::After(1),
        ..Fault::always(CallKind::Status, fault)
    });
    assert_eq!((get(), get(), get()), (200, 502, 502));
    simulator.clear_faults();
    assert_eq!(get(), 200);
}

#[test]
fn an_unlock_whose_answer_is_lost_has_unlocked() {
    let simulator = simulator();
    let token = lock(&simulator).text("unlockToken");
    simulator.inject(Fault {
        when: When::After,
        ..Fault::status_once(CallKind::Unlock, 502)
    });
    assert_eq!(unlock(&simulator, &token).status, 502);
    assert!(!simulator.is_locked());
    assert_eq!(unlock(&simulator, &token).status, 404);
}
