//! No answer, however strange, makes a call panic or take longer.

use proptest::prelude::*;

use crate::support::{Deed, RawServer, client, every_call};

fn body() -> impl Strategy<Value = Vec<u8>> {
    prop_oneof![
        proptest::collection::vec(any::<u8>(), 0..200),
        "[<>{}\\[\\]\":,a-zé0-9 &;/]{0,80}".prop_map(String::into_bytes),
        "\\{\"(unlockToken|cancelToken|task|nodes|errors|errorTexts|state|version)\":[\\[{\"]?[a-z0-9\"]{0,9}[\\]}]{0,3}"
            .prop_map(String::into_bytes),
    ]
}

fn head() -> impl Strategy<Value = String> {
    let status = prop::sample::select(vec![
        200, 202, 204, 302, 400, 401, 403, 404, 409, 429, 500, 503, 599,
    ]);
    let kind = prop::sample::select(vec![
        "",
        "\r\nContent-Type: application/json",
        "\r\nContent-Type: text/html",
        "\r\nLocation: ://%",
        "\r\nX-AUSERNAME: %zz%ff",
    ]);
    (status, kind).prop_map(|(status, kind)| format!("{status} x{kind}"))
}

proptest! {
    #![proptest_config(ProptestConfig { cases: 48, failure_persistence: None, ..ProptestConfig::default() })]

    #[test]
    fn any_answer_to_any_call_is_a_result(head in head(), body in body()) {
        let runtime = tokio::runtime::Builder::new_current_thread()
            .enable_all()
            .build()
            .unwrap();
        runtime.block_on(async {
            let server = RawServer::start(vec![Deed::answer(&head, &body)]).await;
            for (_, result) in every_call(&client(&server.url())).await {
                if let Err(error) = result {
                    assert!(!format!("{error} {error:?} {:?}", error.hint()).is_empty());
                    assert!(error.body_excerpt().is_none_or(|excerpt| excerpt.len() <= 2048));
                }
            }
        });
    }
}
