//! What the double refuses, as the server that it stands for: what passes on it has to be right.

use std::process::Command;

use diy_backup_testkit::mssql::{SqlPermission, SqlServerDouble};

use crate::support::{self, DATABASE, names};

/// Runs a script by hand; the exit status, and all that was printed.
fn run(double: &SqlServerDouble, script: &str, change: impl FnOnce(&mut Command)) -> (i32, String) {
    let folder = tempfile::tempdir().unwrap();
    std::fs::write(folder.path().join("x.sql"), format!("{script}\nGO\n")).unwrap();
    let mut sqlcmd = Command::new(double.tools().join("sqlcmd"));
    sqlcmd
        .args([
            "-S",
            "db.example.com,1444",
            "-d",
            "master",
            "-x",
            "-b",
            "-r0",
            "-W",
            "-s",
            "|",
        ])
        .args(["-U", double.username(), "-i", "x.sql"])
        .env("SQLCMDPASSWORD", double.password())
        .current_dir(folder.path());
    change(&mut sqlcmd);
    let output = sqlcmd.output().unwrap();
    let text = [output.stdout, output.stderr].map(|bytes| String::from_utf8(bytes).unwrap());
    (output.status.code().unwrap(), text.join("\n"))
}

#[track_caller]
fn refuses(double: &SqlServerDouble, script: &str, number: u32) {
    let (status, text) = run(double, script, |_| {});
    assert_eq!(status, 1, "{script}: {text}");
    assert!(
        text.contains(&format!("Msg {number}, Level 16")),
        "{script}: {text}"
    );
}

#[tokio::test]
async fn statements_that_a_server_refuses_are_refused_with_its_numbers() {
    let double = support::server().await;
    let name = "[bit]]bu'cket $(x) ä]";
    let disk = |file: &str| format!("DISK = N'{}\\{file}'", double.server_directory());
    let good = |script: &str| {
        let (status, text) = run(&double, script, |_| {});
        assert_eq!(status, 0, "{script}: {text}");
        text
    };
    for wrong in [
        "BACKUP LOG [a] TO DISK = 'x'",
        "FROB",
        "SELECT 1 + 1",
        "EXEC xp_cmdshell 'x'",
    ] {
        refuses(&double, wrong, 102);
    }
    refuses(&double, "SELECT x.name AS n FROM sys.logins AS x", 208);
    refuses(&double, "SELECT d.nome AS n FROM sys.databases AS d", 207);
    refuses(&double, "SELECT NOW() AS n", 195);
    refuses(&double, "USE [other]", 911);
    let differential = format!(
        "BACKUP DATABASE {name} TO {} WITH DIFFERENTIAL, INIT, CHECKSUM",
        disk("d")
    );
    refuses(&double, &differential, 3035);
    refuses(
        &double,
        &format!("BACKUP DATABASE {name} TO DISK = N'C:\\x' WITH INIT"),
        3201,
    );
    good(&format!(
        "BACKUP DATABASE {name} TO {} WITH COPY_ONLY, INIT",
        disk("copy")
    ));
    refuses(&double, &differential, 3035);
    good(&format!(
        "BACKUP DATABASE {name} TO {} WITH INIT, CHECKSUM",
        disk("f")
    ));
    good(&differential);
    refuses(
        &double,
        &format!("RESTORE VERIFYONLY FROM {} WITH CHECKSUM", disk("copy")),
        3187,
    );
    refuses(
        &double,
        &format!("RESTORE HEADERONLY FROM {}", disk("nothing")),
        3201,
    );

    let full = disk("f");
    let moves = "MOVE N'bit]bu''cket $(x) ä''s data' TO N'D:\\Data\\n', MOVE N'bit]bu''cket $(x) ä_log' TO N'E:\\Log\\n'";
    refuses(
        &double,
        &format!("RESTORE DATABASE {name} FROM {full}"),
        3154,
    );
    refuses(
        &double,
        &format!("RESTORE DATABASE [new] FROM {full}"),
        1834,
    );
    refuses(
        &double,
        &format!("RESTORE DATABASE [new] FROM {full} WITH MOVE N'x' TO N'D:\\Data\\x'"),
        3234,
    );
    let elsewhere = moves.replace("D:\\Data\\n", "Z:\\n");
    refuses(
        &double,
        &format!("RESTORE DATABASE [new] FROM {full} WITH {elsewhere}"),
        5133,
    );
    refuses(
        &double,
        &format!("RESTORE DATABASE [new] FROM {} WITH NORECOVERY", disk("d")),
        3117,
    );
    good(&format!(
        "RESTORE DATABASE [new] FROM {full} WITH {moves}, NORECOVERY"
    ));
    refuses(&double, "USE [new]", 927);
    good(&format!(
        "BACKUP DATABASE {name} TO {} WITH INIT, CHECKSUM",
        disk("f2")
    ));
    good(&differential);
    refuses(
        &double,
        &format!("RESTORE DATABASE [new] FROM {} WITH RECOVERY", disk("d")),
        3136,
    );
    refuses(
        &double,
        &format!("ALTER DATABASE {name} MODIFY NAME = [new]"),
        1801,
    );
    good("DROP DATABASE [new]");
    refuses(&double, "DROP DATABASE [new]", 3701);

    double.revoke(SqlPermission::AlterAnyDatabase).unwrap();
    refuses(&double, &format!("DROP DATABASE {name}"), 3701);
    double.revoke(SqlPermission::CreateAnyDatabase).unwrap();
    refuses(&double, &format!("RESTORE HEADERONLY FROM {full}"), 262);
    double.revoke(SqlPermission::BackupDatabase).unwrap();
    refuses(
        &double,
        &format!("BACKUP DATABASE {name} TO {full} WITH INIT"),
        262,
    );
    assert_eq!(names(&double.directory()), ["copy", "d", "f", "f2"]);
    assert_eq!(
        double.databases().unwrap(),
        [(DATABASE.to_owned(), "ONLINE".to_owned())]
    );
}

#[tokio::test]
async fn the_client_is_as_particular_as_the_real_ones() {
    let double = support::server().await;
    let query = "SELECT 1 AS one";
    let (status, text) = run(&double, query, |_| {});
    assert_eq!((status, text.lines().next()), (0, Some("one")), "{text}");
    assert!(text.contains("(1 rows affected)"), "{text}");
    let variable = run(&double, "USE [$(x)]", |sqlcmd| {
        *sqlcmd = {
            let mut without = Command::new(double.tools().join("sqlcmd"));
            without
                .args([
                    "-S",
                    "db.example.com,1444",
                    "-d",
                    "master",
                    "-U",
                    double.username(),
                    "-i",
                    "x.sql",
                ])
                .env("SQLCMDPASSWORD", double.password())
                .current_dir(sqlcmd.get_current_dir().unwrap());
            without
        };
    });
    assert!(
        variable.0 == 1 && variable.1.contains("scripting variable not defined"),
        "{variable:?}"
    );
    for (change, said) in [
        (vec!["-N"], "Unknown Option"),
        (vec!["-P", "secret"], "Unknown Option"),
        (vec!["-E"], "mutually exclusive"),
        (vec!["-S", "elsewhere"], "Login timeout expired"),
        (vec!["-i", "a,b"], "Invalid filename"),
    ] {
        let (status, text) = run(&double, query, |sqlcmd| {
            sqlcmd.args(&change);
        });
        assert!(status == 1 && text.contains(said), "{change:?}: {text}");
    }
    let (status, text) = run(&double, query, |sqlcmd| {
        sqlcmd.env("SQLCMDPASSWORD", "wrong");
    });
    assert!(status == 1 && text.contains("Login failed"), "{text}");
}
