//! What each call makes of a refusal.

use bitbucket_maintenance_client::{Call, Error, ErrorKind};

use crate::support::{Deed, RawServer, cancel_token, client, eager, every_call, unlock_token};

async fn lock_error(head: &str, body: &str) -> Error {
    let server = RawServer::start(vec![Deed::answer(head, body)]).await;
    let client = client(&server.url()).with_retry(eager());
    let error = client.lock().await.unwrap_err();
    assert_eq!(server.requests(), 1, "an answered lock is never repeated");
    error
}

#[tokio::test]
async fn the_documented_form_is_read() {
    let error = lock_error(
        "409 Conflict",
        r#"{"errors":[{"context":null,"message":"Already locked","exceptionName":"com.example.LockedException"}]}"#,
    )
    .await;
    assert_eq!(error.kind(), ErrorKind::Conflict);
    assert_eq!(error.call(), Call::Lock);
    assert_eq!(error.status(), Some(409));
    assert_eq!(error.server_messages(), ["Already locked"]);
    assert_eq!(error.exception_name(), Some("com.example.LockedException"));
    assert!(error.body_excerpt().unwrap().starts_with("{\"errors\""));
    assert!(!error.may_have_reached_server());
    assert!(error.hint().unwrap().contains("locked already"));
    assert_eq!(
        error.to_string(),
        "could not lock the instance: conflict (HTTP 409): Already locked"
    );
}

#[tokio::test]
async fn a_wrong_token_is_a_conflict_in_the_other_form() {
    let body = r#"{"errorTexts":["The token is wrong"]}"#;
    let server = RawServer::start(vec![Deed::answer("409 Conflict", body)]).await;
    let client = client(&server.url()).with_retry(eager());
    let error = client.unlock(&unlock_token()).await.unwrap_err();
    assert_eq!(error.kind(), ErrorKind::Conflict);
    assert_eq!(error.server_messages(), ["The token is wrong"]);
    let error = client.cancel(&cancel_token()).await.unwrap_err();
    assert_eq!(error.kind(), ErrorKind::Conflict);
    assert_eq!(server.requests(), 2);
}

#[tokio::test]
async fn the_page_of_a_proxy_keeps_status_and_title() {
    let page = "<html><head><title>502 Bad Gateway</title></head><body>nginx</body></html>";
    let error = lock_error("502 Bad Gateway\r\nContent-Type: text/html", page).await;
    assert_eq!(error.kind(), ErrorKind::ServerError);
    assert_eq!(error.status(), Some(502));
    assert_eq!(error.server_messages(), ["502 Bad Gateway"]);
    assert!(error.is_transient());
    assert!(error.may_have_reached_server());
    assert!(error.hint().unwrap().contains("application log"));
}

#[tokio::test]
async fn refusals_are_told_apart() {
    let captcha = r#"{"errors":[{"message":"CAPTCHA","exceptionName":"com.atlassian.bitbucket.auth.CaptchaRequiredAuthenticationException"}]}"#;
    let basic = r#"{"errors":[{"message":"Basic Authentication has been disabled on this instance.","exceptionName":null}]}"#;
    for (head, body, kind, hint) in [
        ("400 Bad Request", "no", ErrorKind::BadRequest, ""),
        (
            "401 Unauthorized",
            "",
            ErrorKind::Unauthorized,
            "HTTP access token",
        ),
        (
            "401 Unauthorized",
            captcha,
            ErrorKind::CaptchaRequired,
            "browser",
        ),
        (
            "401 Unauthorized\r\nX-Authentication-Denied-Reason: CAPTCHA_CHALLENGE; login-url=x",
            "",
            ErrorKind::CaptchaRequired,
            "browser",
        ),
        (
            "403 Forbidden",
            "",
            ErrorKind::Forbidden,
            "system administrator",
        ),
        (
            "403 Forbidden",
            basic,
            ErrorKind::BasicAuthDisabled,
            "allow basic authentication",
        ),
        (
            "403 Forbidden\r\nContent-Type: text/html",
            "XSRF check failed",
            ErrorKind::XsrfRejected,
            "proxy",
        ),
        ("404 Not Found", "", ErrorKind::NotFound, "context path"),
        ("405 Not Allowed", "", ErrorKind::UnexpectedStatus, ""),
        ("409 Conflict", "", ErrorKind::Conflict, "locked already"),
        ("429 Too Many", "", ErrorKind::RateLimited, ""),
    ] {
        let error = lock_error(head, body).await;
        assert_eq!(error.kind(), kind, "{head} {body}");
        assert_eq!(error.hint().is_some(), !hint.is_empty(), "{head}");
        assert!(error.hint().unwrap_or_default().contains(hint), "{error:?}");
        assert!(!error.may_have_reached_server(), "{head}");
    }
}

#[tokio::test]
async fn a_login_redirect_is_not_followed() {
    let head = "302 Found\r\nLocation: https://user:pw@sso.example/login?next=%2Fmvc&token=abc#x";
    let error = lock_error(head, "").await;
    assert_eq!(error.kind(), ErrorKind::LoginRedirect);
    assert_eq!(error.location(), Some("https://sso.example/login"));
    assert!(!error.is_transient());
    assert!(error.hint().unwrap().contains("HTTP access tokens"));
}

#[tokio::test]
async fn a_redirect_to_the_same_path_means_the_url_is_wrong() {
    let head = "301 Moved\r\nLocation: https://bitbucket.example/mvc/maintenance/lock";
    let error = lock_error(head, "").await;
    assert_eq!(error.kind(), ErrorKind::Moved);
    assert!(error.to_string().contains("https://bitbucket.example/"));
}

#[tokio::test]
async fn a_login_is_never_repeated_by_any_call() {
    for head in ["401 Unauthorized", "403 Forbidden"] {
        let server = RawServer::start(vec![Deed::answer(head, "<html></html>")]).await;
        let client = client(&server.url()).with_retry(eager());
        let calls = every_call(&client).await;
        assert_eq!(server.requests(), calls.len());
        for (name, result) in calls {
            assert_eq!(result.unwrap_err().attempts(), 1, "{name}");
        }
    }
}

#[tokio::test]
async fn an_answer_that_is_not_json_says_so() {
    for (body, kind) in [
        ("<html><title>Welcome</title></html>", ErrorKind::NotJson),
        ("welcome", ErrorKind::Malformed),
        ("", ErrorKind::Malformed),
        ("[]", ErrorKind::Malformed),
        (r#"{"unlockToken":""}"#, ErrorKind::Malformed),
        (r#"{"unlockToken":null}"#, ErrorKind::Malformed),
    ] {
        let error = lock_error("200 OK", body).await;
        assert_eq!(error.kind(), kind, "{body}");
        assert!(error.is_transient());
        assert!(error.may_have_reached_server());
    }
}

#[tokio::test]
async fn excerpts_and_answers_are_bounded() {
    let long = format!(
        "{{\"errors\":[{{\"message\":\"{}\"}}]}}",
        "x".repeat(100_000)
    );
    let error = lock_error("500 Oops", &long).await;
    assert!(error.body_excerpt().unwrap().len() <= 2048);
    assert!(error.server_messages()[0].len() <= 500);

    let body = format!("{{\"version\":\"1\",\"x\":\"{}\"}}", "x".repeat(2 << 20));
    let server = RawServer::start(vec![Deed::answer("200 OK", body)]).await;
    let client = client(&server.url());
    let error = client.application_properties().await.unwrap_err();
    assert_eq!(error.kind(), ErrorKind::Malformed);
    assert!(error.to_string().contains("1 MiB"), "{error}");
}
