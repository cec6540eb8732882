//! What cron, containers and proxies make of the environment.

use crate::signals::Stage;
use crate::site::{BITBUCKET_PASSWORD, Finished};

/// Runs `check` with one variable of the environment changed.
fn check(stage: &Stage, name: &str, value: &str) -> Finished {
    let mut command = stage.config.command(&["check"]);
    Finished::of(command.env(name, value).output().unwrap())
}

#[test]
fn an_instance_on_this_machine_is_never_looked_for_behind_a_proxy() {
    let stage = Stage::start();
    for name in ["HTTP_PROXY", "http_proxy", "ALL_PROXY"] {
        // Nothing listens on the port that is there to discard.
        check(&stage, name, "http://127.0.0.1:9").expect(0);
    }
}

#[test]
fn a_newline_at_the_end_of_a_secret_in_the_environment_is_none_of_it() {
    let stage = Stage::start();
    for end in ["\n", "\r\n"] {
        let password = format!("{BITBUCKET_PASSWORD}{end}");
        let finished = check(&stage, "BITBUCKET_PASSWORD", &password).expect(0);
        assert!(
            !finished.stdout.contains("white space"),
            "{}",
            finished.stdout
        );
    }
    let finished = check(
        &stage,
        "BITBUCKET_PASSWORD",
        &format!(" {BITBUCKET_PASSWORD}"),
    );
    assert!(
        finished.stdout.contains("white space"),
        "{}",
        finished.stdout
    );
    assert_ne!(finished.code, 0);
}

#[test]
fn programs_are_found_whatever_path_a_job_is_given() {
    let stage = Stage::start();
    let finished = check(&stage, "PATH", "/nowhere").expect(0);
    assert!(
        finished.stdout.contains("rsync: version"),
        "{}",
        finished.stdout
    );
}
