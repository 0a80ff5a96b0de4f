//! Credentials: which of a file's are stored already, although the API never shows a secret.
//!
//! A secret of the file is taken to be a stored one if both have the same id; or, where the file gives
//! no id, if they agree in all that is shown: `enabled`, validity, comment. Then what is stored is
//! kept, by its id, unless secrets are to be written anew.

use serde_json::Value;

use super::Members;
use super::same::{Kind, is_same};
use crate::operator::password::Hash;

/// What is never shown of a secret.
const CONFIDENTIAL: [&str; 5] = ["pwd-plain", "hash-function", "pwd-hash", "salt", "key"];
/// What every secret has.
const COMMON: [&str; 5] = ["id", "enabled", "not-before", "not-after", "comment"];

/// How secrets are treated.
#[derive(Clone, Copy, Debug)]
pub(super) struct Policy {
    /// Whether secrets of the file replace stored ones that they are taken for.
    pub(super) rotate: bool,
    /// Whether a credential whose secret is neither in the file nor stored is left out.
    pub(super) skip_missing: bool,
    /// How plain passwords are sent.
    pub(super) hash: Hash,
}

/// What is to be done with the credentials of a device.
#[derive(Debug, Default, PartialEq)]
pub(super) struct Plan {
    /// The set to be written; none if what is stored will do.
    pub(super) set: Option<Vec<Members>>,
    /// Secrets of the file that were taken for stored ones, and might be others.
    pub(super) taken: u64,
    /// Credentials that are left out for want of a secret.
    pub(super) skipped: u64,
    /// Whether stored secrets are replaced.
    pub(super) rotates: bool,
}

/// A secret that is neither in the file nor stored.
#[derive(Debug, PartialEq, thiserror::Error)]
#[error(
    "auth-id {auth_id}: its secret is neither in the file nor stored in the gateway (see \
     --skip-missing-secrets)"
)]
pub(super) struct MissingSecret {
    auth_id: String,
}

/// What is to be done so that the `stored` credentials become what is `wanted`.
pub(super) fn plan(
    wanted: &[Members],
    stored: &[Members],
    policy: Policy,
) -> Result<Plan, MissingSecret> {
    let mut plan = Plan::default();
    let mut set = Vec::new();
    let mut is_same_set = true;
    for credential in wanted {
        let known = stored
            .iter()
            .find(|known| is_named_alike(known, credential));
        match merge(credential, known, policy, &mut plan) {
            Ok((merged, is_same)) => {
                is_same_set &= is_same;
                set.push(merged);
            }
            Err(_) if policy.skip_missing => plan.skipped += 1,
            Err(error) => return Err(error),
        }
    }
    if !is_same_set || set.len() != stored.len() {
        plan.set = Some(set);
    }
    Ok(plan)
}

/// Whether the API shows the same before and after: then nothing was changed, although something was
/// written.
pub(super) fn shows_the_same(before: &[Members], after: &[Members]) -> bool {
    let public = |credential: &Members| {
        let mut credential = credential.clone();
        let kind = credential.get("type").and_then(Value::as_str);
        // Written anew, these get other ids and are the same nevertheless.
        if matches!(kind, Some("x509-cert" | "rpk")) {
            for secret in secrets_mut(&mut credential) {
                secret.remove("id");
            }
        }
        credential
    };
    before.len() == after.len()
        && before.iter().all(|one| {
            let other = after.iter().find(|other| is_named_alike(other, one));
            other.is_some_and(|other| is_same(Kind::Credential, &public(one), &public(other)))
        })
}

fn is_named_alike(one: &Members, other: &Members) -> bool {
    let part = |credential: &Members, name: &str| credential.get(name).cloned();
    ["type", "auth-id"]
        .iter()
        .all(|name| part(one, name) == part(other, name))
}

fn secrets(credential: &Members) -> impl Iterator<Item = &Members> {
    let listed = credential.get("secrets").and_then(Value::as_array);
    listed.into_iter().flatten().filter_map(Value::as_object)
}

fn secrets_mut(credential: &mut Members) -> impl Iterator<Item = &mut Members> {
    let listed = credential.get_mut("secrets").and_then(Value::as_array_mut);
    let listed = listed.into_iter().flatten();
    listed.filter_map(Value::as_object_mut)
}

/// What is to be written of a credential, and whether that is what is stored.
fn merge(
    credential: &Members,
    known: Option<&Members>,
    policy: Policy,
    plan: &mut Plan,
) -> Result<(Members, bool), MissingSecret> {
    let mut stored: Vec<&Members> = known.into_iter().flat_map(secrets).collect();
    let count = stored.len();
    // Those that are named are not for others to be taken for.
    let named: Vec<&Value> = secrets(credential)
        .filter_map(|one| one.get("id"))
        .collect();
    let mut merged = credential.clone();
    let mut is_same_all = known.is_some_and(|known| has_same_head(credential, known));
    let (mut taken, mut rotates) = (0, false);
    for secret in secrets_mut(&mut merged) {
        let place = stored.iter().position(|known| match secret.get("id") {
            Some(id) => known.get("id") == Some(id),
            None => {
                let is_named = known.get("id").is_some_and(|id| named.contains(&id));
                !is_named && agrees(secret, known)
            }
        });
        let place = place.map(|at| stored.remove(at));
        match place {
            Some(known) if policy.rotate && is_hidden(secret, known) => {
                rotates = true;
                is_same_all = false;
            }
            Some(known) => {
                taken += u64::from(is_hidden(secret, known));
                is_same_all &= agrees(secret, known);
                keep(secret, known);
            }
            None => {
                check_new(credential, secret)?;
                // The API knows no ids but those it gave out.
                secret.remove("id");
                is_same_all = false;
            }
        }
        policy.hash.conceal(secret);
    }
    is_same_all &= secrets(&merged).count() == count;
    plan.taken += taken;
    plan.rotates |= rotates;
    Ok((merged, is_same_all))
}

/// Whether all but the secrets are the same.
fn has_same_head(one: &Members, other: &Members) -> bool {
    let head = |credential: &Members| {
        let mut head = credential.clone();
        head.remove("secrets");
        head
    };
    is_same(Kind::Credential, &head(one), &head(other))
}

/// Whether a secret of the file agrees with what is shown of a stored one.
fn agrees(secret: &Members, known: &Members) -> bool {
    let shown = |from: &Members, name: &str| from.get(name).cloned().unwrap_or_default();
    let common = |secret: &Members| {
        let common = COMMON.iter().filter(|name| **name != "id");
        let common = common.map(|name| ((*name).to_owned(), shown(secret, name)));
        common.collect::<Members>()
    };
    let others = secret
        .iter()
        .filter(|(name, _)| !COMMON.contains(&name.as_str()));
    let mut others = others.filter(|(name, _)| known.contains_key(*name));
    is_same(Kind::Credential, &common(secret), &common(known))
        && others.all(|(name, value)| known[name] == *value)
}

/// Makes a secret keep what is stored.
fn keep(secret: &mut Members, known: &Members) {
    for (name, value) in known {
        // Its public part, which some types want to be told again.
        if !COMMON.contains(&name.as_str()) && !secret.contains_key(name) {
            secret.insert(name.clone(), value.clone());
        }
    }
    for name in ["pwd-plain", "hash-function", "pwd-hash", "salt"] {
        secret.remove(name);
    }
    if let Some(id) = known.get("id") {
        secret.insert("id".to_owned(), id.clone());
    }
}

/// Whether a secret of the file has what the stored one does not show.
fn is_hidden(secret: &Members, known: &Members) -> bool {
    let mut names = CONFIDENTIAL.iter();
    names.any(|name| secret.contains_key(*name) && !known.contains_key(*name))
}

fn check_new(credential: &Members, secret: &Members) -> Result<(), MissingSecret> {
    // Of a certificate the gateway keeps nothing but when it is valid. What has no id and no secret is
    // a mistake that the API will name.
    let kind = credential.get("type").and_then(Value::as_str);
    let has_all = kind == Some("x509-cert") || !secret.contains_key("id");
    let has_more = secret.keys().any(|name| !COMMON.contains(&name.as_str()));
    if has_all || has_more {
        return Ok(());
    }
    let auth_id = credential.get("auth-id").and_then(Value::as_str);
    let auth_id = auth_id.unwrap_or_default().to_owned();
    Err(MissingSecret { auth_id })
}

#[cfg(test)]
mod tests {
    use serde_json::json;

    use super::*;

    const KEEP: Policy = Policy {
        rotate: false,
        skip_missing: false,
        hash: Hash::Bcrypt,
    };

    fn set(value: Value) -> Vec<Members> {
        serde_json::from_value(value).unwrap()
    }

    fn credential(auth_id: &str, secrets: Value) -> Value {
        json!({"type": "hashed-password", "auth-id": auth_id, "secrets": secrets})
    }

    fn write(wanted: Value, stored: Value, policy: Policy) -> Option<Value> {
        let plan = plan(&set(wanted), &set(stored), policy).unwrap();
        plan.set.map(|set| json!(set))
    }

    #[test]
    fn secrets_that_agree_in_what_is_shown_are_the_stored_ones() {
        let stored = json!([{"type": "hashed-password", "auth-id": "a", "enabled": true,
            "secrets": [{"id": "1", "enabled": true, "comment": "c"}, {"id": "2"}]}]);
        let rows = [
            json!([{"pwd-plain": "x", "comment": "c"}, {"pwd-plain": "y"}]),
            json!([{"pwd-plain": "y"}, {"pwd-plain": "x", "comment": "c"}]),
            json!([{"id": "1", "comment": "c"}, {"id": "2"}]),
            json!([{"id": "2"}, {"hash-function": "sha-256", "pwd-hash": "AQ==", "comment": "c"}]),
        ];
        for secrets in rows {
            let wanted = json!([credential("a", secrets)]);
            assert_eq!(
                write(wanted.clone(), stored.clone(), KEEP),
                None,
                "{wanted}"
            );
        }
    }

    #[test]
    fn what_differs_is_written_and_the_rest_kept_by_its_id() {
        let stored = json!([
            credential("a", json!([{"id": "1", "enabled": true}])),
            credential("b", json!([{"id": "2", "enabled": true}])),
        ]);
        let other_b = json!([{"pwd-plain": "y", "enabled": false}]);
        let wanted = json!([
            credential("a", json!([{"pwd-plain": "x"}])),
            credential("b", other_b)
        ]);
        let written = json!([
            credential("a", json!([{"id": "1"}])),
            credential("b", json!([{"pwd-plain": "y", "enabled": false}])),
        ]);
        assert_eq!(write(wanted, stored.clone(), KEEP), Some(written));
        let fewer = json!([credential("b", json!([{"id": "2"}]))]);
        assert_eq!(write(fewer.clone(), stored.clone(), KEEP), Some(fewer));
        assert_eq!(write(json!([]), stored, KEEP), Some(json!([])));
    }

    #[test]
    fn secrets_are_written_anew_where_that_is_wanted() {
        let stored = json!([credential("a", json!([{"id": "1"}]))]);
        let policy = Policy {
            rotate: true,
            ..KEEP
        };
        for secret in [
            json!({"pwd-plain": "x"}),
            json!({"id": "1", "pwd-plain": "x"}),
        ] {
            let wanted = json!([credential("a", json!([secret]))]);
            let plan = plan(&set(wanted.clone()), &set(stored.clone()), policy).unwrap();
            assert_eq!(plan.set, Some(set(wanted)));
            assert!(plan.rotates);
        }
        // There is nothing to write of a secret that the file only names.
        let named = json!([credential("a", json!([{"id": "1"}]))]);
        assert_eq!(write(named, stored, policy), None);
    }

    #[test]
    fn a_secret_that_is_nowhere_is_an_error_or_left_out() {
        let wanted = set(json!([
            credential("a", json!([{"id": "1"}])),
            credential("b", json!([{"id": "2", "pwd-plain": "x"}])),
        ]));
        let error = plan(&wanted, &[], KEEP).unwrap_err().to_string();
        assert!(
            error.starts_with("auth-id a: its secret is neither"),
            "{error}"
        );
        let policy = Policy {
            skip_missing: true,
            ..KEEP
        };
        let plan = plan(&wanted, &[], policy).unwrap();
        assert_eq!(plan.skipped, 1);
        // Elsewhere the id was given out by another gateway.
        let rest = json!([credential("b", json!([{"pwd-plain": "x"}]))]);
        assert_eq!(plan.set, Some(set(rest)));
    }

    #[test]
    fn plain_passwords_are_hashed_where_that_is_wanted() {
        let policy = Policy {
            hash: Hash::Sha256,
            ..KEEP
        };
        let wanted = json!([credential("a", json!([{"pwd-plain": "x"}]))]);
        let written = write(wanted, json!([]), policy).unwrap();
        let secret = &written[0]["secrets"][0];
        assert_eq!(secret["hash-function"], "sha-256");
        assert_eq!(secret.get("pwd-plain"), None);
    }

    #[test]
    fn public_keys_are_compared_and_sent_again() {
        let rpk = |secret: Value| json!([{"type": "rpk", "auth-id": "a", "secrets": [secret]}]);
        let stored = rpk(json!({"id": "1", "key": "K", "algorithm": "EC"}));
        assert_eq!(write(rpk(json!({"key": "K"})), stored.clone(), KEEP), None);
        let other = rpk(json!({"key": "L"}));
        assert_eq!(write(other.clone(), stored.clone(), KEEP), Some(other));
        let named = rpk(json!({"id": "1", "comment": "c"}));
        let written = rpk(json!({"id": "1", "key": "K", "algorithm": "EC", "comment": "c"}));
        assert_eq!(write(named, stored, KEEP), Some(written));
    }

    #[test]
    fn what_is_shown_tells_whether_anything_changed() {
        let password = |id: &str| set(json!([credential("a", json!([{"id": id}]))]));
        let certificate = |id: &str| {
            let secrets = json!([{"id": id}]);
            set(json!([{"type": "x509-cert", "auth-id": "CN=a", "secrets": secrets}]))
        };
        assert!(shows_the_same(&password("1"), &password("1")));
        assert!(!shows_the_same(&password("1"), &password("2")));
        assert!(shows_the_same(&certificate("1"), &certificate("2")));
        assert!(!shows_the_same(&certificate("1"), &[]));
    }
}
