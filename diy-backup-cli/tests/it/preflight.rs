//! What is found before anything is locked, with the exit code and the words that help.

use diy_backup_testkit::{PrivatePostgres, skip_unless};

use crate::site::Site;

#[test]
fn what_would_fail_is_found_before_the_lock() {
    let site = Site::start(skip_unless!(PrivatePostgres::start()));
    let staging = format!("{:?}", site.folder.join("staging"));
    let home = format!("{:?}", site.home);
    let inside_home = format!("{:?}", site.home.join("staging"));
    let inside_staging = format!("{:?}", site.folder.join("staging/home"));
    let port = format!("port = {}", site.postgres.port());
    let tools = format!("{:?}", site.postgres.bin_dir());
    let cases: &[(&str, &str, &str, i32, &str)] = &[
        (
            "wrong Bitbucket password",
            r#"{ env = "BITBUCKET_PASSWORD" }"#,
            r#"{ value = "wrong" }"#,
            4,
            "password",
        ),
        (
            "wrong database password",
            r#"{ env = "DATABASE_PASSWORD" }"#,
            r#"{ value = "wrong" }"#,
            4,
            "password",
        ),
        ("unreachable database", &port, "port = 1", 4, "127.0.0.1"),
        ("missing tool", &tools, "\"/nonexistent\"", 4, "psql"),
        (
            "unreachable Bitbucket",
            "url = \"http://",
            "url = \"http://127.0.0.1:1/",
            4,
            "URL",
        ),
        (
            "unknown key",
            "[home]\n",
            "[home]\npaht = 1\n",
            3,
            "config.toml:12:1",
        ),
        (
            "bad duration",
            "[backup]\n",
            "[backup]\ndrain-timeout = \"soon\"\n",
            3,
            "config.toml:8:17",
        ),
        ("relative path", &staging, "\"staging\"", 3, "absolute"),
        ("home inside staging", &home, &inside_staging, 4, "inside"),
        ("staging inside home", &staging, &inside_home, 4, "inside"),
        (
            "name with a space",
            "name = \"bitbucket\"\nurl",
            "name = \"bit bucket\"\nurl",
            3,
            "config.toml:2:8",
        ),
        (
            "secret not set",
            r#"{ env = "BITBUCKET_PASSWORD" }"#,
            r#"{ env = "NOT_SET_AT_ALL" }"#,
            3,
            "NOT_SET_AT_ALL",
        ),
    ];
    for (what, good, bad, code, words) in cases {
        let config = site.configure(&site.itself(), |text| {
            assert!(text.contains(good), "{what}");
            text.replacen(good, bad, 1)
        });
        let finished = config.run(&["backup"]);
        assert_eq!(finished.code, *code, "{what}: {}", finished.stderr);
        assert!(
            finished.stderr.contains(words),
            "{what}: {}",
            finished.stderr
        );
        assert!(site.archives().is_empty(), "{what}");
    }
    assert_eq!(site.simulator.lock_count(), 0);
}

#[test]
fn an_instance_that_somebody_has_locked_is_left_alone() {
    let site = Site::start(skip_unless!(PrivatePostgres::start()));
    site.simulator.lock_as("admin").unwrap();
    let finished = site.config().run(&["backup"]).expect(4);
    assert!(finished.stderr.contains("locked"), "{}", finished.stderr);
    assert_eq!(site.simulator.lock_owner().as_deref(), Some("admin"));
    site.config().run(&["status"]).expect(10);
}

#[test]
fn usage_errors_and_help_have_their_own_exit_codes() {
    let run = |args: &[&str]| {
        let output = std::process::Command::new(env!("CARGO_BIN_EXE_diy-backup"))
            .args(args)
            .output()
            .unwrap();
        crate::site::Finished::of(output)
    };
    run(&["bakcup"]).expect(2);
    run(&["restore"]).expect(2);
    run(&["restore", "../../etc"]).expect(2);
    run(&["--help"]).expect(0);
    let version = run(&["--version"]).expect(0);
    assert!(version.stdout.starts_with("diy-backup "));
    for shell in ["bash", "zsh", "fish"] {
        assert!(
            run(&["completions", shell])
                .expect(0)
                .stdout
                .contains("diy-backup")
        );
    }
    assert!(run(&["man"]).expect(0).stdout.contains(".TH"));
    run(&["-c", "/nonexistent/config.toml", "list"]).expect(3);
}
