//! Gateways in front of the instance: what they answer proves nothing.

use std::time::Duration;

use diy_backup_core::{ErrorKind, InstanceState, Step as At};
use diy_backup_testkit::Simulator;
use diy_backup_testkit::simulator::{CallKind, Fault, FaultBody, FaultKind, Times};
use serde_json::json;

use crate::support::{Stage, words};

const BODIES: [FaultBody; 4] = [
    FaultBody::GatewayJson,
    FaultBody::Json,
    FaultBody::Empty,
    FaultBody::Html,
];

#[tokio::test]
async fn a_gateway_that_has_taken_the_node_out_is_no_proof_that_it_is_free() {
    for body in BODIES {
        for status in [404, 502, 503] {
            let what = format!("{status} {body:?}");
            let mut stage = Stage::new();
            stage.site.patience.unlock = Duration::from_millis(100);
            let token = stage.simulator.lock_as("backup").unwrap();
            stage.died_at("backup", At::Draining, &json!({"unlock-token": token}));
            stage.simulator.inject(Fault::gateway(status, body));
            let state = diy_backup_core::status(&stage.site).await.unwrap();
            assert!(
                matches!(state.instance, InstanceState::Unknown(_)),
                "{what}: {:?}",
                state.instance
            );
            let error = stage.recover().await.unwrap_err();
            assert_eq!(
                error.kind(),
                ErrorKind::StillLocked,
                "{what}: {}",
                words(&error)
            );
            let kept = stage.journal().unwrap().unlock_token;
            assert_eq!(kept, stage.simulator.unlock_token(), "{what}");
            stage.simulator.clear_faults();
            stage.recover().await.unwrap();
            stage.assert_clean(&what);
        }
    }
}

#[tokio::test]
async fn a_gateway_is_no_proof_that_a_lock_has_not_arrived() {
    for body in BODIES {
        let mut stage = Stage::new();
        stage.site.patience.late_lock = Duration::from_millis(20);
        stage.simulator.lock_as("backup").unwrap();
        stage.died_at("backup", At::Locking, &json!({}));
        stage.simulator.inject(Fault::gateway(404, body));
        let error = stage.recover().await.unwrap_err();
        assert_eq!(error.kind(), ErrorKind::StillLocked, "{body:?}");
        assert!(stage.journal().unwrap().may_be_locked(), "{body:?}");
    }
}

#[tokio::test]
async fn a_gateway_that_hides_the_lock_alone_is_found_out_by_the_state_of_the_server() {
    for body in BODIES {
        let mut stage = Stage::new();
        stage.site.patience.unlock = Duration::from_millis(100);
        let token = stage.simulator.lock_as("backup").unwrap();
        stage.died_at("backup", At::Locked, &json!({"unlock-token": token}));
        let hidden = FaultKind::Status { status: 404, body };
        for call in [CallKind::Unlock, CallKind::LockState] {
            stage.simulator.inject(Fault::always(call, hidden));
        }
        let error = stage.recover().await.unwrap_err();
        assert_eq!(error.kind(), ErrorKind::StillLocked, "{body:?}");
        assert!(stage.journal().is_some(), "{body:?}");
    }
}

#[tokio::test]
async fn an_instance_whose_status_nobody_may_see_is_proven_free_by_its_properties() {
    let stage = Stage::new();
    stage.died_at(
        "backup",
        At::Locked,
        &json!({"unlock-token": "0".repeat(40)}),
    );
    stage
        .simulator
        .inject(Fault::always(CallKind::Status, FaultKind::LoginRedirect));
    stage.recover().await.unwrap();
    stage.assert_clean("a hidden status");
    let asked = stage.simulator.requests();
    let mut properties = asked
        .iter()
        .filter(|request| request.call == CallKind::ApplicationProperties);
    assert!(
        properties.all(|request| !request.authorized),
        "no account is locked by asking"
    );
}

#[tokio::test]
async fn a_storm_of_a_gateway_does_not_end_a_drain() {
    for (status, body) in [
        (404, FaultBody::GatewayJson),
        (404, FaultBody::Empty),
        (404, FaultBody::Json),
        (503, FaultBody::Html),
    ] {
        let stage = Stage::with(Simulator::builder().drain(Duration::from_millis(100)));
        for nth in 1..=20 {
            stage.simulator.inject(Fault {
                times: Times::Nth(nth),
                ..Fault::once(
                    CallKind::MaintenanceState,
                    FaultKind::Status { status, body },
                )
            });
        }
        let result = stage.backup().await;
        assert!(result.is_ok(), "{status} {body:?}: {:?}", result.err());
    }
}
