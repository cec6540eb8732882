//! Who we say that we are, and whom we believe.

use diy_backup_core::{ElasticsearchStrategy as _, error_chain};
use serde_json::json;

use crate::double::{Answer, Double, elasticsearch};
use crate::support::{back_up, backup_cx, findings, fs};

const PASSWORD: &str = "s3cret-p4ss";

#[tokio::test]
async fn user_and_password_or_an_api_key_go_with_every_call() {
    let ways = [
        (
            format!("username = 'backup'\npassword = {{ value = '{PASSWORD}' }}\n"),
            "Basic YmFja3VwOnMzY3JldC1wNHNz",
        ),
        (
            "api-key = { value = 'a2V5OmlkOg==' }\n".to_owned(),
            "ApiKey a2V5OmlkOg==",
        ),
    ];
    for (keys, header) in ways {
        let double = Double::start(|asked| elasticsearch("8.18.1", asked));
        let section = format!("{}{keys}", double.section());
        back_up(&*fs(&section), &backup_cx()).await.unwrap();
        for asked in double.asked() {
            assert_eq!(asked.header("authorization"), Some(header), "{asked:?}");
        }
    }
}

#[tokio::test]
async fn no_secret_shows_although_the_server_repeats_it() {
    let double = Double::start(|asked| {
        let words = format!(
            "you sent {:?} with {PASSWORD}",
            asked.header("authorization")
        );
        Answer::Json(
            401,
            json!({"error": {"type": "security_exception", "reason": words}}),
        )
    });
    let keys = format!("username = 'backup'\npassword = {{ value = '{PASSWORD}' }}\n");
    let strategy = fs(&format!("{}{keys}", double.section()));
    let error = strategy.begin(&backup_cx()).await.unwrap_err();
    let shown = format!(
        "{} {error:?} {strategy:?} {:?}",
        error_chain(&error),
        findings(&*strategy).await
    );
    assert!(
        shown.contains("you sent") && shown.contains("<redacted>"),
        "{shown}"
    );
    assert!(
        !shown.contains(PASSWORD) && !shown.contains("YmFja3Vw"),
        "{shown}"
    );
    assert_eq!(double.count("GET /"), 2, "a refused login is not repeated");
}

#[tokio::test]
async fn a_certificate_of_the_ca_file_is_trusted_and_no_other() {
    let double = Double::secure("127.0.0.1", |asked| elasticsearch("8.18.1", asked));
    let trusted = format!(
        "{}ca-file = '{}'\n",
        double.section(),
        double.ca_file().display()
    );
    back_up(&*fs(&trusted), &backup_cx()).await.unwrap();

    let stranger = Double::secure("127.0.0.1", |asked| elasticsearch("8.18.1", asked));
    let wrong = format!(
        "{}ca-file = '{}'\n",
        double.section(),
        stranger.ca_file().display()
    );
    let elsewhere = Double::secure("elsewhere.example", |asked| elasticsearch("8.18.1", asked));
    let misnamed = format!(
        "{}ca-file = '{}'\n",
        elsewhere.section(),
        elsewhere.ca_file().display()
    );
    for section in [wrong, misnamed] {
        let error = fs(&section).begin(&backup_cx()).await.unwrap_err();
        assert!(
            error.to_string().contains("could not be trusted"),
            "{}",
            error_chain(&error)
        );
        assert!(error.hint().unwrap().contains("ca-file") && !error.is_transient());
    }
}

#[tokio::test]
async fn a_redirect_is_a_refusal_and_takes_no_password_elsewhere() {
    let double = Double::start(|_| Answer::Text(302, "moved"));
    let error = fs(&double.section()).begin(&backup_cx()).await.unwrap_err();
    assert!(error.to_string().contains("HTTP 302"), "{error}");
}
