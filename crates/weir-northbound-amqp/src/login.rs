//! Who is on a connection, and what they may do (northbound contract §1.1 and §1.11).
//!
//! SASL PLAIN takes a password; EXTERNAL takes the client certificate that the TLS handshake has
//! verified, whose common name is the user. Each user has one of the two. When the permissions are
//! replaced, a connection whose user could not log in like that any more is to be closed, and the
//! links that its user may not have any more are to be detached.

#[cfg(test)]
mod tests;

use std::pin::Pin;
use std::sync::Arc;
use std::task::{Context, Poll};
use std::time::{Duration, Instant};

use futures_util::future::BoxFuture;
use tokio::time::error::Elapsed;
use tokio_util::sync::WaitForCancellationFutureOwned;
use weir_amqp_engine::{LinkId, SaslCode, SessionId};
use weir_core::{LogLimit, shorten};
use weir_metrics::{AuthenticationOutcome, ClientType, Metrics};

use crate::permissions::{Activity, Permissions, User, Users};

/// The mechanism of those who have a password.
pub(crate) const PLAIN: &str = "PLAIN";
/// The mechanism of those who have shown a certificate [RFC 4422 appendix A].
pub(crate) const EXTERNAL: &str = "EXTERNAL";

/// Longest user name that is looked at, bytes.
const LONGEST_USER: usize = 256;

/// How long a password's check may take, waiting in line included.
const CHECK_TIME: Duration = Duration::from_secs(5);

/// Refused logins are told a few times a second; a guesser must not fill the disk.
static REFUSED_LOGINS: LogLimit = LogLimit::new();

/// One connection's user, from the login on, and the links that were allowed.
pub(crate) struct Access {
    permissions: Permissions,
    metrics: Metrics,
    /// The name in the certificate that the TLS handshake has verified.
    certified: Option<String>,
    check: Option<Check>,
    user: Option<LoggedIn>,
    links: Vec<Allowed>,
}

/// A password being checked.
struct Check {
    claim: Claim,
    answer: BoxFuture<'static, Result<bool, Elapsed>>,
}

/// Who somebody says to be.
struct Claim {
    /// Whose password or certificate it is.
    own: String,
    /// Who they want to be: the same, or another one.
    name: String,
    /// Among whom.
    users: Arc<Users>,
}

struct LoggedIn {
    claim: Claim,
    user: Arc<User>,
    /// Ready when the users were replaced; taken when that has ended the connection.
    replaced: Option<Pin<Box<WaitForCancellationFutureOwned>>>,
}

/// A link, and what it needs.
struct Allowed {
    link: LinkId,
    session: SessionId,
    activity: Activity,
    address: String,
}

/// Why somebody is not let in.
struct Refusal {
    user: Option<String>,
    code: SaslCode,
    why: &'static str,
}

/// What a connection loses because the permissions were replaced.
#[derive(Debug, PartialEq, Eq)]
pub(crate) enum Loss {
    /// These links, which may be none.
    Links(Vec<LinkId>),
    /// Everything: its user has to log in anew, if that is possible at all.
    Login,
}

impl Access {
    /// Nobody yet. `certified` is the name in a client certificate that was verified.
    pub(crate) fn new(
        permissions: Permissions,
        metrics: Metrics,
        certified: Option<String>,
    ) -> Self {
        Self {
            permissions,
            metrics,
            certified,
            check: None,
            user: None,
            links: Vec::new(),
        }
    }

    /// The name of who has logged in.
    pub(crate) fn user(&self) -> Option<&str> {
        self.user.as_ref().map(|user| &*user.claim.name)
    }

    // === login ===

    /// Takes the response of a mechanism that was offered. The outcome that is still missing comes
    /// from [`poll_login`](Self::poll_login).
    pub(crate) fn login(
        &mut self,
        now: Instant,
        mechanism: &str,
        response: &[u8],
    ) -> Option<SaslCode> {
        let taken = match mechanism {
            EXTERNAL => self.external(response),
            _ => self.plain(response),
        };
        let code = taken.unwrap_or_else(|refusal| Some(refusal.tell(now)));
        code.inspect(|code| self.count(*code))
    }

    /// SASL EXTERNAL: the response is the authorization id.
    fn external(&mut self, authorization: &[u8]) -> Result<Option<SaslCode>, Refusal> {
        let own = self.certified.clone();
        let own = own.ok_or_else(|| Refusal::new(None, "no name in the certificate"))?;
        let claim = Claim::new(own, authorization, self.permissions.current())?;
        if !claim.own_user()?.is_external() {
            return Err(claim.refused("the user has a password and no certificate"));
        }
        self.let_in(claim).map(Some)
    }

    /// SASL PLAIN [RFC 4616]: authorization id, user and password, separated by NUL.
    fn plain(&mut self, response: &[u8]) -> Result<Option<SaslCode>, Refusal> {
        let malformed = || Refusal::new(None, "malformed SASL PLAIN response");
        let mut parts = response.splitn(3, |byte| *byte == 0);
        let mut part = || parts.next().ok_or_else(malformed);
        let (authorization, own, password) = (part()?, part()?, part()?.to_vec());
        let own = String::from_utf8(own.to_vec()).map_err(|_| malformed())?;
        let claim = Claim::new(own, authorization, self.permissions.current())?;
        let user = claim.own_user()?.clone();
        if user.is_external() {
            return Err(claim.refused("the user has a certificate and no password"));
        }
        let permissions = self.permissions.clone();
        let check = async move { permissions.verify(&user, &password).await };
        let answer = Box::pin(tokio::time::timeout(CHECK_TIME, check));
        self.check = Some(Check { claim, answer });
        Ok(None)
    }

    /// The outcome of a login whose password has been checked.
    pub(crate) fn poll_login(&mut self, cx: &mut Context<'_>, now: Instant) -> Poll<SaslCode> {
        let Some(check) = &mut self.check else {
            return Poll::Pending;
        };
        let Poll::Ready(answer) = check.answer.as_mut().poll(cx) else {
            return Poll::Pending;
        };
        let Some(Check { claim, .. }) = self.check.take() else {
            return Poll::Pending;
        };
        let outcome = match answer {
            Ok(true) => self.let_in(claim),
            Ok(false) => Err(claim.refused("bad credentials")),
            Err(_) => Err(Refusal {
                code: SaslCode::SysTemp,
                ..claim.refused("the password could not be checked in time")
            }),
        };
        let code = outcome.unwrap_or_else(|refusal| refusal.tell(now));
        self.count(code);
        Poll::Ready(code)
    }

    fn count(&self, code: SaslCode) {
        let outcome = match code {
            SaslCode::Ok => AuthenticationOutcome::Succeeded,
            SaslCode::Auth => AuthenticationOutcome::Unauthorized,
            _ => AuthenticationOutcome::Unavailable,
        };
        // An application in front of the messaging network, as its router would ask.
        let client = ClientType::DispatchRouter;
        self.metrics.authentication_attempt(outcome, client);
    }

    fn let_in(&mut self, claim: Claim) -> Result<SaslCode, Refusal> {
        let user = claim.user()?.clone();
        let (own, name) = (&*claim.own, &*claim.name);
        let acting_for = (own != name).then_some(own);
        tracing::info!(user = name, by = acting_for, "application logged in");
        let replaced = Some(replaced(&claim.users));
        self.user = Some(LoggedIn {
            claim,
            user,
            replaced,
        });
        Ok(SaslCode::Ok)
    }

    // === links ===

    /// Whether the user may have a link. One that is allowed is remembered, until it is
    /// [forgotten](Self::forget_where), because permissions may change.
    pub(crate) fn admit(
        &mut self,
        ids: (LinkId, SessionId),
        activity: Activity,
        address: &str,
    ) -> bool {
        let is_allowed = self
            .user
            .as_ref()
            .is_some_and(|logged_in| logged_in.user.may(activity, address));
        if is_allowed {
            self.links.push(Allowed {
                link: ids.0,
                session: ids.1,
                activity,
                address: address.to_owned(),
            });
        }
        is_allowed
    }

    /// Forgets links that have ended.
    pub(crate) fn forget_where(&mut self, is_gone: impl Fn(LinkId, SessionId) -> bool) {
        self.links.retain(|link| !is_gone(link.link, link.session));
    }

    /// Waits until the permissions are replaced.
    pub(crate) fn poll_loss(&mut self, cx: &mut Context<'_>) -> Poll<Loss> {
        let Some(logged_in) = &mut self.user else {
            return Poll::Pending;
        };
        let mut is_new = false;
        while let Some(replaced) = &mut logged_in.replaced
            && replaced.as_mut().poll(cx).is_ready()
        {
            is_new = true;
            logged_in.replaced = None;
            if !logged_in.renew(self.permissions.current()) {
                return Poll::Ready(Loss::Login);
            }
        }
        if !is_new {
            return Poll::Pending;
        }
        let user = &logged_in.user;
        let lost = self.links.iter();
        let lost = lost.filter(|link| !user.may(link.activity, &link.address));
        Poll::Ready(Loss::Links(lost.map(|link| link.link).collect()))
    }
}

impl Claim {
    /// Somebody's claim to be themselves, or the one that `authorization` names.
    fn new(own: String, authorization: &[u8], users: Arc<Users>) -> Result<Self, Refusal> {
        let name = match authorization {
            [] => own.clone(),
            other => String::from_utf8_lossy(other).into_owned(),
        };
        if own.len().max(name.len()) > LONGEST_USER {
            return Err(Refusal::new(Some(own), "the name is too long"));
        }
        let claim = Self { own, name, users };
        claim.user().map(|_| ()).and(Ok(claim))
    }

    /// Whose password or certificate it is.
    fn own_user(&self) -> Result<&Arc<User>, Refusal> {
        let user = self.users.user(&self.own);
        user.ok_or_else(|| self.refused("no such user"))
    }

    /// Who they want to be, if they may.
    fn user(&self) -> Result<&Arc<User>, Refusal> {
        let own = self.own_user()?;
        if self.own == self.name {
            return Ok(own);
        }
        if !own.may_impersonate() {
            return Err(self.refused("the user may not act for another"));
        }
        let user = self.users.user(&self.name);
        user.ok_or_else(|| self.refused("there is no such user to act for"))
    }

    fn refused(&self, why: &'static str) -> Refusal {
        Refusal::new(Some(self.own.clone()), why)
    }
}

impl LoggedIn {
    /// Goes by these users from now on; whether that login would still be one.
    fn renew(&mut self, users: Arc<Users>) -> bool {
        let now = Claim {
            own: self.claim.own.clone(),
            name: self.claim.name.clone(),
            users,
        };
        let (Ok(before), Ok(own), Ok(user)) = (self.claim.own_user(), now.own_user(), now.user())
        else {
            return false;
        };
        if !own.logs_in_like(before) {
            return false;
        }
        self.user = user.clone();
        self.replaced = Some(replaced(&now.users));
        self.claim = now;
        true
    }
}

/// A child token, so that looking at it takes no lock that all connections share.
fn replaced(users: &Users) -> Pin<Box<WaitForCancellationFutureOwned>> {
    Box::pin(users.replaced().child_token().cancelled_owned())
}

impl Refusal {
    fn new(user: Option<String>, why: &'static str) -> Self {
        Self {
            user,
            code: SaslCode::Auth,
            why,
        }
    }

    /// Tells the log, and gives what the peer is told.
    fn tell(self, now: Instant) -> SaslCode {
        let Self { user, code, why } = self;
        if let Some(unlogged) = REFUSED_LOGINS.admit(now) {
            let user = user.as_deref().map(shorten);
            tracing::warn!(user, why, unlogged, "application refused");
        }
        code
    }
}
