//! Many objects from one file, and to one.

use serde_json::json;

use super::{Done, can_send, weir, weir_with_input};
use crate::kit::{Application, Gateway, story};

/// Applies a fleet that comes on standard input.
pub(super) fn apply(gateway: &Gateway, fleet: &str, more: &[&str]) -> Done {
    let arguments = [&["apply", "-f", "-"], more].concat();
    weir_with_input(gateway, &arguments, fleet)
}

const FLEET: &str = "
tenants:
- id: acme
  enabled: true
  ext:
    plan: gold
  devices:
  - id: gw
    enabled: true
    credentials:
    - type: hashed-password
      auth-id: gw
      secrets:
      - pwd-plain: gw-secret
        comment: first
  - id: sensor
    via: gw
  - id: bare
- id: other
";

#[test]
fn a_fleet_is_applied_once_and_then_unchanged() {
    story(async {
        let gateway = Gateway::start().await;
        let first = apply(&gateway, FLEET, &[]).succeeded();
        for line in [
            "created    tenant acme\n",
            "created    device acme/gw\n",
            "created    device acme/sensor\n",
            "created    tenant other\n",
            "tenants: 2 created, 0 updated, 0 unchanged\n",
            "devices: 3 created, 0 updated, 0 unchanged\n",
        ] {
            assert!(first.contains(line), "{line} is missing in\n{first}");
        }
        let _application = Application::consume(&gateway, "telemetry/acme").await;
        assert!(can_send(&gateway, "acme", "gw", "gw-secret").await);

        let before = weir(&gateway, &["device", "get", "acme", "gw"]).succeeded();
        let credentials = ["credentials", "get", "acme", "gw"];
        let secrets = weir(&gateway, &credentials).succeeded();
        let again = apply(&gateway, FLEET, &[]);
        assert!(
            again.error.contains("nobody can read: 1 ("),
            "{}",
            again.error
        );
        let again = again.succeeded();
        assert!(again.contains("unchanged  device acme/gw\n"), "{again}");
        assert!(
            again.contains("tenants: 0 created, 0 updated, 2 unchanged\n"),
            "{again}"
        );
        assert!(
            again.contains("devices: 0 created, 0 updated, 3 unchanged\n"),
            "{again}"
        );
        let after = weir(&gateway, &["device", "get", "acme", "gw"]).succeeded();
        assert_eq!(after, before, "the version too");
        assert_eq!(weir(&gateway, &credentials).succeeded(), secrets);
    });
}

#[test]
fn only_what_differs_is_written() {
    story(async {
        let gateway = Gateway::start().await;
        apply(&gateway, FLEET, &[]).succeeded();
        let _application = Application::consume(&gateway, "telemetry/acme").await;
        let changed = FLEET
            .replace("via: gw", "via: gw2")
            .replace("plan: gold", "plan: iron");

        let dry = apply(&gateway, &changed, &["--dry-run"]).succeeded();
        assert!(dry.contains("updated    device acme/sensor\n"), "{dry}");
        let shown = weir(&gateway, &["device", "get", "acme", "sensor", "-o", "json"]).json();
        assert_eq!(shown["via"], json!(["gw"]), "nothing was written");

        let text = apply(&gateway, &changed, &[]).succeeded();
        assert!(text.contains("updated    tenant acme\n"), "{text}");
        assert!(text.contains("updated    device acme/sensor\n"), "{text}");
        assert!(
            text.contains("devices: 0 created, 1 updated, 2 unchanged\n"),
            "{text}"
        );
        let shown = weir(&gateway, &["device", "get", "acme", "sensor", "-o", "json"]).json();
        assert_eq!(shown["via"], json!(["gw2"]));

        // A password alone cannot be seen to differ.
        let other = changed.replace("gw-secret", "new-secret");
        apply(&gateway, &other, &[]).succeeded();
        assert!(can_send(&gateway, "acme", "gw", "gw-secret").await);
        let text = apply(&gateway, &other, &["--rotate-secrets", "--hash=sha-512"]).succeeded();
        assert!(
            text.contains("devices: 0 created, 1 updated, 2 unchanged\n"),
            "{text}"
        );
        assert!(can_send(&gateway, "acme", "gw", "new-secret").await);
        assert!(!can_send(&gateway, "acme", "gw", "gw-secret").await);
    });
}

#[test]
fn what_the_file_has_only_the_name_of_is_left_alone() {
    story(async {
        let gateway = Gateway::start().await;
        apply(&gateway, FLEET, &[]).succeeded();
        let names = "{\"tenant\":\"acme\"}\n{\"tenant\":\"acme\",\"device\":\"sensor\"}\n\
                     {\"tenant\":\"acme\",\"device\":\"gw\",\"credentials\":[]}\n\
                     {\"tenant\":\"acme\",\"device\":\"new\"}\n";
        let text = apply(&gateway, names, &["--verbose"]).succeeded();
        for line in [
            "unchanged  tenant acme\n",
            "unchanged  device acme/sensor\n",
            "updated    device acme/gw\n",
            "created    device acme/new\n",
        ] {
            assert!(text.contains(line), "{line} is missing in\n{text}");
        }
        let set = weir(
            &gateway,
            &["credentials", "get", "acme", "gw", "-o", "json"],
        )
        .json();
        assert_eq!(set, json!([]));
        let tenant = weir(&gateway, &["tenant", "get", "acme", "-o", "json"]).json();
        assert_eq!(tenant["ext"]["plan"], "gold");
    });
}

#[test]
fn what_cannot_be_applied_is_named_and_the_rest_goes_on() {
    story(async {
        let gateway = Gateway::start().await;
        let fleet = "{\"tenant\": \"acme\"}\n\
                     {\"tenant\": \"acme\", \"device\": \"a\", \"enabeld\": true}\n\
                     {\"tenant\": \"acme\", \"device\": \"b\"}\n\
                     {\"tenant\": \"nobody\", \"device\": \"c\"}\n\
                     {\"tenant\": 5}\n\
                     {\"tenant\": \"bad\", \"adapters\": []}\n\
                     {\"tenant\": \"bad\", \"device\": \"passed-over\"}\n\
                     {\"tenant\": \"acme\", \"device\": \"d\", \"credentials\": [{}]}\n";
        let done = apply(&gateway, fleet, &[]);
        assert!(done.out.contains("tenants: 1 created"), "{}", done.out);
        assert!(done.out.contains("devices: 1 created"), "{}", done.out);
        assert!(done.out.contains("failed: 6"), "{}", done.out);
        let error = done.failed();
        for expected in [
            "error: device acme/a: enabeld: ",
            "error: device nobody/c: ",
            "error: the file: line 5: tenant: 5 is a number",
            "error: tenant bad: adapters: ",
            "error: device acme/d: credentials: credentials[0]: ",
            "(400 Bad Request)",
        ] {
            assert!(
                error.contains(expected),
                "{expected} is missing in\n{error}"
            );
        }
        assert!(!error.contains("passed-over"), "{error}");

        let stopped = apply(&gateway, fleet, &["--max-errors", "1", "--jobs", "1"]).failed();
        assert!(stopped.contains("stopped after "), "{stopped}");
        assert!(!stopped.contains("tenant bad"), "{stopped}");
        let nothing = "tenants:\n- id: new\n  devices:\n  - id: 5\n";
        let error = apply(&gateway, nothing, &[]).failed();
        assert!(
            error.contains("tenant new: devices[0]: id: 5 is a number"),
            "{error}"
        );
        weir(&gateway, &["tenant", "get", "new"]).failed();
    });
}

#[test]
fn many_devices_are_told_as_progress_and_numbers() {
    story(async {
        let gateway = Gateway::start().await;
        let folder = tempfile::tempdir().unwrap();
        let path = folder.path().join("fleet.ndjson");
        let mut lines = "{\"tenant\":\"acme\"}\n".to_owned();
        for number in 0..199 {
            let credential = json!({"type": "hashed-password", "auth-id": format!("d{number}"),
                "secrets": [{"pwd-plain": "secret"}]});
            let line = json!({"tenant": "acme", "device": format!("d{number}"),
                "credentials": [credential]});
            lines.push_str(&format!("{line}\n"));
        }
        std::fs::write(&path, lines).unwrap();
        let arguments = ["apply", "--hash", "sha-256", "-f", path.to_str().unwrap()];
        let first = weir(&gateway, &arguments);
        assert!(
            first.error.contains("of 200 done, 0 failed"),
            "{}",
            first.error
        );
        let expected = "tenants: 1 created, 0 updated, 0 unchanged\n\
                        devices: 199 created, 0 updated, 0 unchanged\n";
        assert_eq!(first.succeeded(), expected);
        let again = weir(&gateway, &[&arguments[..], &["-o", "json"]].concat()).json();
        assert_eq!(again["summary"]["devices"]["unchanged"], 199);
        let _application = Application::consume(&gateway, "telemetry/acme").await;
        assert!(can_send(&gateway, "acme", "d198", "secret").await);
    });
}

#[test]
fn an_export_changes_nothing_where_it_is_from() {
    story(async {
        let gateway = Gateway::start().await;
        apply(&gateway, FLEET, &[]).succeeded();
        for form in ["yaml", "ndjson"] {
            let export = weir(&gateway, &["export", "--format", form]).succeeded();
            assert!(
                !export.contains("secret:") && !export.contains("pwd"),
                "{export}"
            );
            assert!(!export.contains("status"), "{export}");
            let text = apply(&gateway, &export, &["--verbose"]).succeeded();
            assert!(
                text.contains("tenants: 0 created, 0 updated, 2 unchanged\n"),
                "{text}"
            );
            assert!(
                text.contains("devices: 0 created, 0 updated, 3 unchanged\n"),
                "{text}"
            );
        }
        let one = weir(&gateway, &["export", "other", "-f", "other.yaml"]).succeeded();
        assert_eq!(one, "");
        let file = gateway.data().with_file_name("other.yaml");
        let file = std::fs::read_to_string(file).unwrap();
        assert_eq!(file, "tenants:\n- id: other\n  enabled: true\n");
        let error = weir(&gateway, &["export", "nobody", "-f", "none.yaml"]).failed();
        assert!(error.contains("tenant nobody: "), "{error}");
        assert!(!gateway.data().with_file_name("none.yaml").exists());
    });
}

#[test]
fn an_export_applied_elsewhere_names_the_secrets_it_lacks() {
    story(async {
        let gateway = Gateway::start().await;
        apply(&gateway, FLEET, &[]).succeeded();
        let export = weir(&gateway, &["export"]).succeeded();
        let elsewhere = Gateway::start().await;
        let error = apply(&elsewhere, &export, &[]).failed();
        let expected = "error: device acme/gw: credentials: auth-id gw: its secret is neither in \
                        the file nor stored";
        assert!(error.contains(expected), "{error}");
        let skipped = apply(&elsewhere, &export, &["--skip-missing-secrets"]);
        assert!(
            skipped.error.contains("are not known: 1\n"),
            "{}",
            skipped.error
        );
        let text = skipped.succeeded();
        assert!(
            text.contains("devices: 0 created, 0 updated, 3 unchanged\n"),
            "{text}"
        );
        let shown = weir(
            &elsewhere,
            &["device", "get", "acme", "sensor", "-o", "json"],
        )
        .json();
        assert_eq!(shown["via"], json!(["gw"]));
    });
}
