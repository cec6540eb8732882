//! Calls to Amazon OpenSearch Service, as they arrive there.

use std::fmt::Write as _;
use std::process::Command;

use serde_json::{Value, json};
use sha2::{Digest, Sha256};
use strategy_elasticsearch::RepositoryKind;

use crate::double::{Answer, Asked, Double, elasticsearch, refusal};
use crate::support::{back_up, backup_cx, strategy};

const KEY: &str = "AKIDEXAMPLE";
const SECRET: &str = "wJalrXUtnFEMI/K7MDENG+bPxRfiCYEXAMPLEKEY";
const TOKEN: &str = "a/session+token==";
const REGION: &str = "eu-central-1";
/// Tells a test that it is the process with the credentials, and which server to call.
const CHILD: &str = "SIGNED_CALLS_GO_TO";
const ROLE: &str = "arn:aws:iam::123456789012:role/snapshots";

#[test]
fn every_call_bears_the_signature_that_its_content_demands() {
    let name = "signed::every_call_bears_the_signature_that_its_content_demands";
    if let Ok(url) = std::env::var(CHILD) {
        return back_up_to(&url);
    }
    let double = Double::start(|asked| match asked.call().as_str() {
        "GET /search/_snapshot/bitbucket-snapshots" => refusal(
            404,
            "repository_missing_exception",
            "[bitbucket-snapshots] missing",
        ),
        _ => without_prefix(asked),
    });
    // The credentials of a process are its environment, which a test must not change for the others.
    let child = Command::new(std::env::current_exe().unwrap())
        .args(["--exact", name])
        .env(CHILD, format!("{}/search", double.url()))
        .env("AWS_ACCESS_KEY_ID", KEY)
        .env("AWS_SECRET_ACCESS_KEY", SECRET)
        .env("AWS_SESSION_TOKEN", TOKEN)
        .env("AWS_CONFIG_FILE", "/dev/null")
        .env("AWS_EC2_METADATA_DISABLED", "true")
        .output()
        .unwrap();
    let said = [child.stdout, child.stderr].concat();
    let said = String::from_utf8_lossy(&said);
    assert!(
        child.status.success() && said.contains("1 passed"),
        "{said}"
    );
    assert!(!said.contains(SECRET) && !said.contains(TOKEN));

    let asked = double.asked();
    assert!(asked.len() > 6, "{}", asked.len());
    for asked in &asked {
        assert_eq!(asked.header("x-amz-security-token"), Some(TOKEN));
        let authorization = asked.header("authorization").unwrap();
        assert_eq!(authorization, expected(asked, authorization), "{asked:?}");
    }
    let made = asked
        .iter()
        .find(|asked| asked.call() == "PUT /search/_snapshot/bitbucket-snapshots");
    let made: Value = serde_json::from_str(&made.unwrap().body).unwrap();
    let settings = json!({"bucket": "b", "region": REGION, "role_arn": ROLE});
    assert_eq!(made, json!({"type": "s3", "settings": settings}));
}

fn without_prefix(asked: &Asked) -> Answer {
    let mut asked = asked.clone();
    let rest = asked.target.trim_start_matches("/search/");
    asked.target = format!("/{}", rest.trim_start_matches("/search"));
    elasticsearch("7.10.2", &asked)
}

fn back_up_to(url: &str) {
    let section =
        format!("url = '{url}'\nbucket = 'b'\nregion = '{REGION}'\nrole-arn = '{ROLE}'\n");
    let strategy = strategy(RepositoryKind::AmazonEs, &section);
    let runtime = tokio::runtime::Runtime::new().unwrap();
    runtime.block_on(async {
        back_up(&*strategy, &backup_cx()).await.unwrap();
    });
}

/// The header that AWS would expect, worked out from what has arrived: Signature Version 4, step by step.
fn expected(asked: &Asked, authorization: &str) -> String {
    let signed = authorization.split("SignedHeaders=").nth(1).unwrap();
    let signed = signed.split(',').next().unwrap();
    for needed in ["host", "x-amz-date", "x-amz-security-token"] {
        assert!(signed.split(';').any(|name| name == needed), "{signed}");
    }
    let (path, query) = asked.target.split_once('?').unwrap_or((&asked.target, ""));
    let mut query: Vec<&str> = query.split('&').filter(|pair| !pair.is_empty()).collect();
    query.sort_unstable();
    let mut headers = String::new();
    for name in signed.split(';') {
        writeln!(headers, "{name}:{}", asked.header(name).unwrap().trim()).unwrap();
    }
    let content = hex(&Sha256::digest(&asked.body));
    let canonical = format!(
        "{}\n{}\n{}\n{headers}\n{signed}\n{content}",
        asked.method,
        encoded(path),
        query.join("&")
    );
    let time = asked.header("x-amz-date").unwrap();
    let day = &time[..8];
    let scope = format!("{day}/{REGION}/es/aws4_request");
    let text = format!(
        "AWS4-HMAC-SHA256\n{time}\n{scope}\n{}",
        hex(&Sha256::digest(&canonical))
    );
    let mut key = hmac(format!("AWS4{SECRET}").as_bytes(), day);
    for part in [REGION, "es", "aws4_request"] {
        key = hmac(&key, part);
    }
    let signature = hex(&hmac(&key, &text));
    format!(
        "AWS4-HMAC-SHA256 Credential={KEY}/{scope}, SignedHeaders={signed}, Signature={signature}"
    )
}

/// Every service but S3 encodes the path of the request once more.
fn encoded(path: &str) -> String {
    let plain = |byte: u8| byte.is_ascii_alphanumeric() || b"-._~/".contains(&byte);
    path.bytes().fold(String::new(), |mut text, byte| {
        if plain(byte) {
            text.push(byte.into());
        } else {
            write!(text, "%{byte:02X}").unwrap();
        }
        text
    })
}

fn hmac(key: &[u8], text: &str) -> Vec<u8> {
    let mut block = [0_u8; 64];
    block[..key.len()].copy_from_slice(key);
    let pad = |with: u8| block.map(|byte| byte ^ with);
    let inner = Sha256::new()
        .chain_update(pad(0x36))
        .chain_update(text)
        .finalize();
    Sha256::new()
        .chain_update(pad(0x5c))
        .chain_update(inner)
        .finalize()
        .to_vec()
}

fn hex(bytes: &[u8]) -> String {
    bytes.iter().fold(String::new(), |mut text, byte| {
        write!(text, "{byte:02x}").unwrap();
        text
    })
}
