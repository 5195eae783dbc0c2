//! The thin sender: one call at a time in a session, sent again by the rules of `attempt.rs`.
//!
//! A call takes a number when it is sent and keeps it while it is sent again. The session stays locked until then, so that
//! numbers reach the hub in their order; calls without a session do not wait for one another.

use crate::attempt::{History, Mended, Next, Sent, Trouble, after_fault, again};
use crate::session::{Origin, Session, SessionMark, SessionProof, SessionStyle};
use crate::wire::{self, Outgoing, RawUpload};
use crate::{Effect, Fault, FaultCode, KojiError, Login, MethodCall, Retried, Server, Settings, Value, calls};
use osbs_http::{AddressRule, Bytes, Timeouts, Transport, TransportConfig};
use osbs_types::Secret;
use std::fmt;
use std::sync::Arc;
use std::sync::atomic::{AtomicBool, Ordering};
use std::time::{Duration, Instant};
use tokio::sync::{Mutex, MutexGuard};
use tokio_util::sync::CancellationToken;

/// Below the hub's URL: where its web server asks for who we are.
const SSL_LOGIN: &str = "/ssllogin";

/// A client of one hub. Cheap to clone; clones share the session.
#[derive(Clone)]
pub struct Koji {
    pub(crate) inner: Arc<Inner>,
    session: Arc<Mutex<Option<Session>>>,
    cancel: CancellationToken,
}

pub(crate) struct Inner {
    /// To the hub; with the client certificate, if there is one.
    hub: Transport,
    /// To wherever files are: it shows no certificate of ours.
    pub(crate) files: Transport,
    pub(crate) server: Server,
    login: Login,
    pub(crate) settings: Settings,
    /// The hub looks at call numbers: from 1.35 on it says its version in every answer; from 1.31 to 1.34 it looks for them
    /// where no client sends them.
    counts: AtomicBool,
}

/// Nothing was done, and later it will be: maintenance, or a file that an upload still writes whose connection was cut, for the
/// hub hears of that last.
fn ends_by_itself(fault: &Fault) -> bool {
    matches!(fault.class(), FaultCode::ServerOffline | FaultCode::LockError)
}

impl fmt::Debug for Koji {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        f.debug_struct("Koji").field("hub", &self.inner.server.host()).finish_non_exhaustive()
    }
}

/// Something to be sent.
pub(crate) struct Errand<'a> {
    pub(crate) action: &'a str,
    pub(crate) effect: Effect,
    /// The answer is `nil` anyway.
    pub(crate) says_nothing: bool,
    pub(crate) what: What<'a>,
    pub(crate) secrets: &'a [Secret],
    /// Set when it was sent more than once.
    pub(crate) repeated: AtomicBool,
}

impl<'a> Errand<'a> {
    fn of<T>(call: &'a MethodCall<T>, path: &'static str) -> Self {
        Self {
            action: call.method(),
            effect: call.effect(),
            says_nothing: call.says_nothing(),
            what: What::Call { path, document: Bytes::from(call.document()) },
            secrets: call.secrets(),
            repeated: AtomicBool::new(false),
        }
    }
}

pub(crate) enum What<'a> {
    Call { path: &'static str, document: Bytes },
    Upload { arguments: RawUpload<'a>, bytes: Bytes },
}

impl What<'_> {
    fn outgoing(&self, server: &Server, mark: Option<&SessionMark>) -> Outgoing {
        match self {
            Self::Call { path, document } => wire::call(server.hub(), path, mark, document.clone()),
            Self::Upload { arguments, bytes } => wire::raw_upload(server.hub(), arguments, mark, bytes.clone()),
        }
    }
}

impl Koji {
    /// A client; nothing is sent yet, and it is nobody until [`Koji::log_in`].
    ///
    /// # Errors
    /// A certificate cannot be used.
    pub fn new(transport: &Transport, server: Server, login: Login, settings: Settings) -> Result<Self, KojiError> {
        let unusable =
            |what: &'static str| move |host: String| move |source| KojiError::Certificate { what, hub: host, source };
        let trusting = match server.ca() {
            Some(pem) => transport.trusting(pem).map_err(unusable("certificates of the authority")(server.host()))?,
            None => transport.clone(),
        };
        // An import may digest gigabytes before it answers.
        let config = trusting.config().clone();
        let timeouts = Timeouts { commit: settings.change_limit, ..config.timeouts };
        let files = Transport::new(TransportConfig { timeouts, ..config });
        let hub = match &login {
            Login::Certificate { pem, .. } => {
                files.presenting(pem).map_err(unusable("client certificate")(server.host()))?
            }
            _ => files.clone(),
        };
        let counts = AtomicBool::new(false);
        let inner = Inner { hub, files, server, login, settings, counts };
        Ok(Self { inner: Arc::new(inner), session: Arc::default(), cancel: CancellationToken::new() })
    }

    /// The same client and session, whose calls end with [`KojiError::Cancelled`] when this token is cancelled.
    #[must_use]
    pub fn cancelled_by(&self, cancel: &CancellationToken) -> Self {
        Self { cancel: cancel.clone(), ..self.clone() }
    }

    /// The same client without a session: its calls wait for nobody.
    #[must_use]
    pub fn anonymous(&self) -> Self {
        Self { session: Arc::default(), ..self.clone() }
    }

    /// Which hub.
    pub fn server(&self) -> &Server {
        &self.inner.server
    }

    /// What cancels the calls of this one.
    pub fn cancellation(&self) -> &CancellationToken {
        &self.cancel
    }

    /// The session's number, if there is one: for logs, and for [`calls::logout_child`].
    pub async fn session_id(&self) -> Option<i64> {
        self.session.lock().await.as_ref().map(Session::id)
    }

    /// Calls a method.
    ///
    /// # Errors
    /// Refused, no answer, or one that makes no sense.
    pub async fn call<T>(&self, call: MethodCall<T>) -> Result<T, KojiError> {
        let errand = Errand::of(&call, "");
        let answer = self.run(&errand).await?;
        call.read(answer).map_err(|error| self.protocol(call.method(), error.to_string()))
    }

    /// Several calls in one request; one fails without the others. Not for logins and uploads.
    ///
    /// # Errors
    /// The whole was refused, was not answered, or makes no sense.
    pub async fn multicall<T>(&self, items: &[MethodCall<T>]) -> Result<Vec<Result<T, KojiError>>, KojiError> {
        const ACTION: &str = "multiCall";
        let answers = self.call(calls::multi_call(items)).await?;
        if answers.len() != items.len() {
            let problem = format!("{} results for {} calls", answers.len(), items.len());
            return Err(self.protocol(ACTION, problem));
        }
        let read = |(item, answer): (&MethodCall<T>, Result<Value, Fault>)| match answer {
            Ok(value) => item.read(value).map_err(|error| self.protocol(item.method(), error.to_string())),
            Err(fault) => Err(self.refused(item.method(), fault)),
        };
        Ok(items.iter().zip(answers).map(read).collect())
    }

    /// Makes a session of the login that was given; for an anonymous one it does nothing.
    ///
    /// # Errors
    /// Not allowed, or no answer.
    pub async fn log_in(&self) -> Result<(), KojiError> {
        if !self.inner.login.is_anonymous() {
            let mut slot = self.lock().await?;
            *slot = Some(self.make_session().await?);
        }
        Ok(())
    }

    /// Ends the session; one that the hub has ended already counts as ended.
    ///
    /// # Errors
    /// No answer.
    pub async fn log_out(&self) -> Result<(), KojiError> {
        let mut slot = self.lock().await?;
        let Some(mut session) = slot.take() else { return Ok(()) };
        let call = calls::logout();
        let errand = Errand::of(&call, "");
        self.until_answer(&errand, Some(&session.mark()), &mut History::default()).await.map(drop)
    }

    /// A session below this one, for a task: with a key and numbers of its own. It ends with this one.
    ///
    /// # Errors
    /// Not logged in, or no answer.
    pub async fn subsession(&self) -> Result<Self, KojiError> {
        let proof = self.call(calls::subsession()).await?;
        let session = Session::new(proof, Origin::Sub, self.inner.settings.sessions_in_url);
        Ok(Self { session: Arc::new(Mutex::new(Some(session))), ..self.clone() })
    }

    /// Makes the session the only one of its user; with `force` another one that is so is closed. From then on the session
    /// is never made again behind the caller's back.
    ///
    /// # Errors
    /// There is another one (1006), or no answer.
    pub async fn exclusive_session(&self, force: bool) -> Result<(), KojiError> {
        self.call(calls::exclusive_session(force)).await?;
        if let Some(session) = self.session.lock().await.as_mut() {
            session.exclusive = true;
        }
        Ok(())
    }

    async fn lock(&self) -> Result<MutexGuard<'_, Option<Session>>, KojiError> {
        tokio::select! {
            slot = self.session.lock() => Ok(slot),
            () = self.cancel.cancelled() => Err(KojiError::Cancelled),
        }
    }

    pub(crate) async fn run(&self, errand: &Errand<'_>) -> Result<Value, KojiError> {
        let mut slot = self.lock().await?;
        if let Some(session) = slot.as_mut() {
            return self.in_session(errand, session).await;
        }
        drop(slot);
        let said = self.until_answer(errand, None, &mut History::default()).await?;
        said.map_err(|fault| self.refused(errand.action, fault))
    }

    async fn in_session(&self, errand: &Errand<'_>, session: &mut Session) -> Result<Value, KojiError> {
        let (mut history, mut mended) = (History::default(), Mended::default());
        loop {
            let mark = session.mark();
            let fault = match self.until_answer(errand, Some(&mark), &mut history).await? {
                Ok(value) => return Ok(value),
                Err(fault) => fault,
            };
            let mut next = after_fault(&fault, errand.effect, errand.says_nothing, &history, &mended);
            if next == Next::Probe {
                next = match self.lives(session).await? {
                    true => Next::Give,
                    false if history.maybe_done && errand.effect == Effect::Changes => Next::Unknown,
                    false => Next::Remake,
                };
            }
            match next {
                Next::Give | Next::Probe => return Err(self.refused(errand.action, fault)),
                Next::WasDone if errand.says_nothing => return Ok(Value::Nil),
                Next::WasDone => return Err(self.answer_lost(errand, true)),
                Next::Unknown => return Err(self.answer_lost(errand, false)),
                Next::Renumber => mended.renumbered = true,
                Next::Renew => {
                    mended.renewed = true;
                    self.renew(errand, session, fault).await?;
                }
                Next::Remake => {
                    mended.remade = true;
                    self.remake(errand, session, fault).await?;
                }
            }
        }
    }

    /// Sends until the hub answers, a result or a fault, always with the same number.
    async fn until_answer(
        &self,
        errand: &Errand<'_>,
        mark: Option<&SessionMark>,
        history: &mut History,
    ) -> Result<Result<Value, Fault>, KojiError> {
        let settings = &self.inner.settings;
        let (started, hub) = (Instant::now(), self.inner.server.host());
        loop {
            let trouble = match self.cancellable(errand, mark).await? {
                Ok(Err(fault)) if ends_by_itself(&fault) => Trouble::Offline(fault),
                Ok(said) => return Ok(said),
                Err(trouble) => trouble,
            };
            let in_url = mark.is_some_and(|mark| mark.style == SessionStyle::Url);
            let numbered = mark.is_some() && (in_url || self.inner.counts.load(Ordering::Relaxed));
            let call = Sent { action: errand.action, hub: &hub, effect: errand.effect, numbered };
            let delay = settings.delay(history.attempts + 1, rand::random());
            let time_is_up = started.elapsed() + delay >= settings.patience;
            errand.repeated.store(true, Ordering::Relaxed);
            let reason = again(&call, history, trouble, started.elapsed(), time_is_up)?;
            self.pause(errand.action, history.attempts, reason, delay).await?;
        }
    }

    /// Tells the observer of a repetition, and waits for it.
    pub(crate) async fn pause(
        &self,
        action: &str,
        attempt: u32,
        reason: String,
        delay: Duration,
    ) -> Result<(), KojiError> {
        if let Some(observer) = &self.inner.settings.on_retry {
            observer(&Retried { action: action.to_owned(), hub: self.inner.server.host(), attempt, reason, delay });
        }
        self.wait(delay).await
    }

    /// Waits.
    ///
    /// # Errors
    /// Cancelled.
    pub(crate) async fn wait(&self, delay: Duration) -> Result<(), KojiError> {
        tokio::select! {
            () = tokio::time::sleep(delay) => Ok(()),
            () = self.cancel.cancelled() => Err(KojiError::Cancelled),
        }
    }

    /// One attempt. What changes something is given some time to be answered when it is on its way as somebody cancels.
    async fn cancellable(
        &self,
        errand: &Errand<'_>,
        mark: Option<&SessionMark>,
    ) -> Result<Result<Result<Value, Fault>, Trouble>, KojiError> {
        if self.cancel.is_cancelled() {
            return Err(KojiError::Cancelled);
        }
        let enough = async {
            self.cancel.cancelled().await;
            if errand.effect == Effect::Changes {
                tokio::time::sleep(self.inner.settings.grace).await;
            }
        };
        tokio::select! {
            said = self.exchange(errand, mark) => Ok(said),
            () = enough => Err(KojiError::Cancelled),
        }
    }

    async fn exchange(&self, errand: &Errand<'_>, mark: Option<&SessionMark>) -> Result<Result<Value, Fault>, Trouble> {
        let Inner { server, settings, .. } = &*self.inner;
        let limit = if errand.effect == Effect::Reads { settings.read_limit } else { settings.change_limit };
        let outgoing = errand.what.outgoing(server, mark);
        if let (Login::Kerberos(kerberos), What::Call { path: SSL_LOGIN, .. }) = (&self.inner.login, &errand.what) {
            let (status, body) = kerberos.send(server, &outgoing, settings.max_answer).await?;
            return self.said(status, &body, errand, mark);
        }
        let request = outgoing.into_request();
        let request = request
            .addresses(AddressRule::Any)
            .allow_plain_http(server.hub().scheme() == "http")
            .skip_verification(server.is_insecure())
            .deadline(limit);
        let response = self.inner.hub.send(&request).await?;
        if response.header("koji-version").is_some() {
            self.inner.counts.store(true, Ordering::Relaxed);
        }
        let status = response.status().as_u16();
        let body = response.bytes(settings.max_answer).await?;
        self.said(status, &body, errand, mark)
    }

    fn said(
        &self,
        status: u16,
        body: &[u8],
        errand: &Errand<'_>,
        mark: Option<&SessionMark>,
    ) -> Result<Result<Value, Fault>, Trouble> {
        let hide = |text: &str| self.hidden(text, errand, mark);
        match wire::answer(status, body) {
            Ok(said) => Ok(said.map_err(|fault| Fault { text: hide(&fault.text), ..fault })),
            Err(wire::NoAnswer::Status(status, text)) => Err(Trouble::Status(status, hide(&text))),
            Err(wire::NoAnswer::Garbage(problem)) => Err(Trouble::Garbage(hide(&problem))),
        }
    }

    /// A peer's words without what proves who we are.
    fn hidden(&self, text: &str, errand: &Errand<'_>, mark: Option<&SessionMark>) -> String {
        let password = match &self.inner.login {
            Login::Password { password, .. } => Some(password),
            _ => None,
        };
        let secrets = errand.secrets.iter().chain(password).chain(mark.map(|mark| &mark.key));
        let mut text = text.to_owned();
        for secret in secrets.map(Secret::reveal).filter(|secret| secret.len() >= 4) {
            if text.contains(secret) {
                text = text.replace(secret, "***");
            }
        }
        text
    }

    async fn make_session(&self) -> Result<Session, KojiError> {
        let proof = self.prove(None).await?;
        Ok(Session::new(proof, Origin::Login, self.inner.settings.sessions_in_url))
    }

    /// Logs in; with the mark of an old session, renews that one.
    async fn prove(&self, renewing: Option<&SessionMark>) -> Result<SessionProof, KojiError> {
        let (call, path, user) = match &self.inner.login {
            Login::Password { user, password } => (calls::login(user, password), "", user.clone()),
            Login::Certificate { proxyuser, .. } => {
                let user = proxyuser.clone().unwrap_or_else(|| "the holder of the certificate".to_owned());
                (calls::ssl_login(proxyuser.as_deref()), SSL_LOGIN, user)
            }
            Login::Kerberos(kerberos) => (calls::ssl_login(None), SSL_LOGIN, kerberos.user()),
            Login::Anonymous => return Err(self.protocol("login", "a session without a login".to_owned())),
        };
        let call = if renewing.is_some() { calls::renewing(call) } else { call };
        let errand = Errand::of(&call, path);
        let answered = self.until_answer(&errand, renewing, &mut History::default()).await;
        let hub = || self.inner.server.host();
        // What cannot be read may hold a key.
        let unreadable = || self.protocol(call.method(), "no session".to_owned());
        match answered {
            Ok(Ok(answer)) => call.read(answer).map_err(|_| unreadable()),
            Ok(Err(fault)) if fault.kind() == osbs_types::ErrorKind::Policy => {
                Err(KojiError::Denied { hub: hub(), user, fault })
            }
            Ok(Err(fault)) => Err(self.refused(call.method(), fault)),
            Err(KojiError::Protocol { .. }) => Err(unreadable()),
            Err(error) => Err(error),
        }
    }

    /// A call with the next number to see whether the session is still one.
    async fn lives(&self, session: &mut Session) -> Result<bool, KojiError> {
        let call = calls::get_logged_in_user();
        let errand = Errand::of(&call, "");
        let mark = session.mark();
        let said = self.until_answer(&errand, Some(&mark), &mut History::default()).await?;
        Ok(said.is_ok_and(|user| !user.is_nil()))
    }

    async fn renew(&self, errand: &Errand<'_>, session: &mut Session, fault: Fault) -> Result<(), KojiError> {
        let mark = session.mark();
        match self.prove(Some(&mark)).await {
            Ok(proof) => {
                session.renew(proof);
                Ok(())
            }
            // It was renewed, but its new key is lost; or it was closed meanwhile.
            Err(error) if error.fault().is_some() => self.remake(errand, session, fault).await,
            Err(error) => Err(error),
        }
    }

    async fn remake(&self, errand: &Errand<'_>, session: &mut Session, fault: Fault) -> Result<(), KojiError> {
        if !session.can_be_made_again() {
            let (action, hub) = (errand.action.to_owned(), self.inner.server.host());
            return Err(KojiError::SessionLost { action, hub, fault });
        }
        *session = self.make_session().await?;
        Ok(())
    }

    fn answer_lost(&self, errand: &Errand<'_>, done: bool) -> KojiError {
        let (action, hub) = (errand.action.to_owned(), self.inner.server.host());
        KojiError::AnswerLost { action, hub, done, source: None }
    }

    pub(crate) fn refused(&self, action: &str, fault: Fault) -> KojiError {
        KojiError::Fault { action: action.to_owned(), hub: self.inner.server.host(), fault }
    }

    pub(crate) fn protocol(&self, action: &str, problem: String) -> KojiError {
        let problem = crate::error::one_line(&problem);
        KojiError::Protocol { action: action.to_owned(), hub: self.inner.server.host(), problem }
    }
}
