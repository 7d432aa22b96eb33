//! As whom a request is sent: by token, or with a ticket that is fetched, kept and renewed.

use std::time::Duration;

use reqwest::header::{AUTHORIZATION, COOKIE, HeaderMap, HeaderName, HeaderValue};
use serde_json::Value;
use tokio::sync::Mutex;
use tokio::time::Instant;

use super::http::SetupError;
use super::observe;
use crate::clusters::{Credentials, TicketLogin};
use crate::pve::http::{Method, Request, Response, SendError, Sending, percent_encode};
use crate::pve::root_only;

/// A ticket ends after two hours, and is not used that long: what it is sent with may take its time.
const RENEW_AFTER: Duration = Duration::from_secs(90 * 60);
/// A login that was refused is not tried again for so long: some realms lock an account that is tried too often.
const REFUSED_FOR: Duration = Duration::from_secs(60);
/// Proxmox's own header against forged requests.
const CSRF: HeaderName = HeaderName::from_static("csrfpreventiontoken");

/// Sends one request with these headers, once. It is what a session needs of a transport.
pub(crate) trait Wire: Send + Sync {
    fn exchange<'a>(&'a self, request: &'a Request, headers: &'a HeaderMap) -> Sending<'a>;
}

/// The credentials of one cluster in use.
pub(crate) struct Session {
    token: Option<HeaderMap>,
    login: Option<Login>,
}

struct Login {
    user: TicketLogin,
    held: Mutex<Held>,
}

#[derive(Default)]
enum Held {
    #[default]
    Nothing,
    Ticket(Ticket),
    Refused {
        answer: Response,
        since: Instant,
    },
}

#[derive(Clone)]
struct Ticket {
    cookie: HeaderValue,
    csrf: HeaderValue,
    since: Instant,
}

impl Ticket {
    fn headers(&self, method: Method) -> HeaderMap {
        let mut headers = HeaderMap::from_iter([(COOKIE, self.cookie.clone())]);
        if method.is_write() {
            headers.insert(CSRF, self.csrf.clone());
        }
        headers
    }
}

/// Why there is no ticket: the answer or error that the request itself is given.
type NoTicket = Result<Response, SendError>;

impl Session {
    pub(crate) fn new(credentials: &Credentials) -> Result<Self, SetupError> {
        let header = |token: &crate::clusters::Token| {
            let text = format!("PVEAPIToken={}={}", token.id, token.secret.expose());
            let value = sensitive(&text).ok_or(SetupError::BadToken)?;
            Ok(HeaderMap::from_iter([(AUTHORIZATION, value)]))
        };
        let token = credentials.token.as_ref().map(header).transpose()?;
        let login = credentials.login.clone().map(|user| Login { user, held: Mutex::default() });
        if token.is_none() && login.is_none() {
            return Err(SetupError::NoCredentials);
        }
        Ok(Self { token, login })
    }

    /// Sends a request once with what it needs, by the ticket twice where the first one had ended.
    pub(crate) async fn send(&self, wire: &dyn Wire, request: &Request) -> Result<Response, SendError> {
        let login = match (&self.token, &self.login) {
            (Some(token), login) => match login.as_ref().filter(|login| login.is_needed_for(request)) {
                None => return wire.exchange(request, token).await,
                Some(login) => login,
            },
            (None, Some(login)) => login,
            // Refused when the session was made.
            (None, None) => return wire.exchange(request, &HeaderMap::new()).await,
        };
        let ticket = match login.ticket(wire, None).await {
            Ok(ticket) => ticket,
            Err(answer) => return answer,
        };
        let answer = wire.exchange(request, &ticket.headers(request.method)).await?;
        if answer.status != 401 {
            return Ok(answer);
        }
        // Nothing is carried out for whom the server does not know, so even a write may be sent once more.
        match login.ticket(wire, Some(ticket.since)).await {
            Ok(ticket) => wire.exchange(request, &ticket.headers(request.method)).await,
            Err(answer) => answer,
        }
    }
}

impl Login {
    /// Beside a token, the password serves alone for what Proxmox keeps from every token.
    fn is_needed_for(&self, request: &Request) -> bool {
        self.user.is_root() && root_only::needs_root(request)
    }

    /// The ticket; a new one where there is none, it ages, or it is the one that was refused.
    async fn ticket(&self, wire: &dyn Wire, refused: Option<Instant>) -> Result<Ticket, NoTicket> {
        // Held over the login, so that many requests at once log in once.
        let mut held = self.held.lock().await;
        match &*held {
            Held::Ticket(ticket) if Some(ticket.since) != refused && ticket.since.elapsed() < RENEW_AFTER => {
                return Ok(ticket.clone());
            }
            Held::Refused { answer, since } if since.elapsed() < REFUSED_FOR => return Err(Ok(answer.clone())),
            _ => {}
        }
        *held = Held::Nothing;
        match self.log_in(wire).await {
            Ok(ticket) => {
                *held = Held::Ticket(ticket.clone());
                Ok(ticket)
            }
            Err(Ok(answer)) => {
                *held = Held::Refused { answer: answer.clone(), since: Instant::now() };
                Err(Ok(answer))
            }
            Err(error) => Err(error),
        }
    }

    async fn log_in(&self, wire: &dyn Wire) -> Result<Ticket, NoTicket> {
        let request = Request::new(Method::Post, "/access/ticket")
            .with("username", &self.user.username)
            .with("password", self.user.password.expose());
        let since = Instant::now();
        let answer = match observe::counted(wire.exchange(&request, &HeaderMap::new())).await {
            Ok(answer) => answer,
            // Only the login may have been carried out; the request that it is for has not left.
            Err(SendError::MaybeApplied(reason)) => return Err(Err(SendError::NeverSent(reason))),
            Err(error) => return Err(Err(error)),
        };
        let not_sent = |words: &str| {
            let text = format!("logging in as {} failed: {words} (status {})", self.user.username, answer.status);
            Err(Err(SendError::NeverSent(text)))
        };
        if answer.status == 401 {
            return Err(Ok(answer));
        }
        if answer.status != 200 {
            return not_sent(&answer.reason);
        }
        let body: Value = serde_json::from_str(&answer.body).unwrap_or_default();
        let text = |name: &str| body.pointer(&format!("/data/{name}")).and_then(Value::as_str);
        let needs_more = body.pointer("/data/NeedTFA").is_some_and(|flag| *flag == 1 || *flag == "1" || *flag == true);
        if needs_more {
            let reason =
                format!("{} has a second factor, which only a person can give: use a token", self.user.username);
            return Err(Ok(Response { status: 401, reason, body: String::new() }));
        }
        let ticket = text("ticket").and_then(|ticket| sensitive(&format!("PVEAuthCookie={}", percent_encode(ticket))));
        let csrf = text("CSRFPreventionToken").and_then(sensitive);
        match (ticket, csrf) {
            (Some(cookie), Some(csrf)) => Ok(Ticket { cookie, csrf, since }),
            _ => not_sent("the answer is not that of a Proxmox API"),
        }
    }
}

fn sensitive(text: &str) -> Option<HeaderValue> {
    let mut value = HeaderValue::from_str(text).ok()?;
    value.set_sensitive(true);
    Some(value)
}

#[cfg(test)]
mod tests {
    use std::sync::Mutex as Plain;

    use serde_json::json;

    use super::*;
    use crate::client::fake::{Answer, data, maybe_applied, never_sent, refusal};
    use crate::clusters::Token;
    use crate::secret::Secret;

    /// Gives out tickets `PVE:root@pam:N==`, and answers what is written down, else `null`.
    #[derive(Default)]
    struct Script {
        answers: Plain<Vec<Answer>>,
        logins: Plain<Vec<Answer>>,
        log: Plain<Vec<String>>,
        given: Plain<u32>,
    }

    impl Wire for Script {
        fn exchange<'a>(&'a self, request: &'a Request, headers: &'a HeaderMap) -> Sending<'a> {
            let text = |name: &HeaderName| headers.get(name).map(|value| value.to_str().unwrap().to_owned());
            let shown: Vec<String> = [&AUTHORIZATION, &COOKIE, &CSRF].into_iter().filter_map(text).collect();
            self.log.lock().unwrap().push(format!("{} {} {}", request.method, request.path, shown.join(" ")));
            let next = |answers: &Plain<Vec<Answer>>| {
                let mut answers = answers.lock().unwrap();
                (!answers.is_empty()).then(|| answers.remove(0))
            };
            let answer = if request.path == "/access/ticket" {
                assert_eq!(request.body().unwrap(), "username=root%40pam&password=pa%3Bss%3D");
                next(&self.logins).unwrap_or_else(|| {
                    let mut given = self.given.lock().unwrap();
                    *given += 1;
                    data(json!({"ticket": format!("PVE:root@pam:{given}=="), "CSRFPreventionToken": format!("{given}:x")}))
                })
            } else {
                next(&self.answers).unwrap_or_else(|| data(Value::Null))
            };
            Box::pin(async move { answer })
        }
    }

    fn session(token: bool, user: &str) -> Session {
        let token = token.then(|| Token { id: "a@pve!t".to_owned(), secret: Secret::new("s") });
        let login = TicketLogin { username: user.to_owned(), password: Secret::new("pa;ss=") };
        Session::new(&Credentials { token, login: Some(login) }).unwrap()
    }

    fn put(name: &str, value: &str) -> Request {
        Request::new(Method::Put, "/nodes/a/qemu/100/config").with(name, value)
    }

    async fn run(script: &Script, session: &Session, requests: &[Request]) -> Vec<Result<u16, SendError>> {
        let mut answers = Vec::new();
        for request in requests {
            answers.push(session.send(script, request).await.map(|answer| answer.status));
        }
        answers
    }

    const LOGIN: &str = "POST /access/ticket ";
    const CONFIG: &str = "PUT /nodes/a/qemu/100/config ";

    fn by(number: u32) -> String {
        format!("PVEAuthCookie=PVE%3Aroot%40pam%3A{number}%3D%3D")
    }

    #[tokio::test(start_paused = true)]
    async fn one_login_serves_two_hours_less_a_margin() {
        let (script, session) = (Script::default(), session(false, "root@pam"));
        let read = Request::get("/version");
        run(&script, &session, &[read.clone(), put("cores", "2")]).await;
        tokio::time::advance(RENEW_AFTER - Duration::from_secs(1)).await;
        run(&script, &session, std::slice::from_ref(&read)).await;
        tokio::time::advance(Duration::from_secs(1)).await;
        run(&script, &session, &[read]).await;
        let version = |number| format!("GET /version {}", by(number));
        let config = format!("{CONFIG}{} 1:x", by(1));
        let expected = [LOGIN.to_owned(), version(1), config, version(1), LOGIN.to_owned(), version(2)];
        assert_eq!(*script.log.lock().unwrap(), expected);
    }

    #[tokio::test(start_paused = true)]
    async fn a_401_leads_to_one_renewal_and_no_loop() {
        let ended = || refusal(401, "permission denied - invalid PVE ticket");
        let script =
            Script { answers: Plain::new(vec![ended(), data(Value::Null), ended(), ended()]), ..Script::default() };
        let session = session(false, "root@pam");
        let answers = run(&script, &session, &[put("cores", "2"), put("cores", "3")]).await;
        assert_eq!(answers, [Ok(200), Ok(401)]);
        let config = |number: u32| format!("{CONFIG}{} {number}:x", by(number));
        let login = || LOGIN.to_owned();
        let expected = [login(), config(1), login(), config(2), config(2), login(), config(3)];
        assert_eq!(*script.log.lock().unwrap(), expected);
    }

    #[tokio::test(start_paused = true)]
    async fn many_at_once_log_in_once() {
        let (script, session) = (Script::default(), session(false, "root@pam"));
        let read = Request::get("/version");
        let (a, b, c) =
            tokio::join!(session.send(&script, &read), session.send(&script, &read), session.send(&script, &read));
        assert!(a.is_ok() && b.is_ok() && c.is_ok());
        assert_eq!(script.log.lock().unwrap().iter().filter(|line| *line == LOGIN).count(), 1);
    }

    #[tokio::test(start_paused = true)]
    async fn a_wrong_password_is_not_tried_again_and_again() {
        let refused = || refusal(401, "authentication failure");
        let script = Script { logins: Plain::new(vec![refused()]), ..Script::default() };
        let session = session(false, "root@pam");
        let read = Request::get("/version");
        assert_eq!(run(&script, &session, &[read.clone(), read.clone()]).await, [Ok(401), Ok(401)]);
        assert_eq!(*script.log.lock().unwrap(), [LOGIN]);
        tokio::time::advance(REFUSED_FOR).await;
        assert_eq!(run(&script, &session, &[read]).await, [Ok(200)]);
    }

    #[tokio::test(start_paused = true)]
    async fn a_login_that_fails_means_that_the_request_never_left() {
        for login in [never_sent(), maybe_applied(), refusal(500, "no quorum"), data(json!({"ticket": 1}))] {
            let script = Script { logins: Plain::new(vec![login.clone()]), ..Script::default() };
            let answers = run(&script, &session(false, "root@pam"), &[put("cores", "2"), put("cores", "2")]).await;
            assert!(matches!(answers[0], Err(SendError::NeverSent(_))), "{login:?}");
            assert_eq!(answers[1], Ok(200), "{login:?}");
        }
        let factor = data(json!({"NeedTFA": 1, "ticket": "PVE:!tfa!x", "CSRFPreventionToken": "1:x"}));
        let script = Script { logins: Plain::new(vec![factor]), ..Script::default() };
        let answer = session(false, "root@pam").send(&script, &put("cores", "2")).await.unwrap();
        assert!(answer.status == 401 && answer.reason.contains("second factor"), "{answer:?}");
    }

    #[tokio::test(start_paused = true)]
    async fn beside_a_token_the_password_is_for_what_only_root_may() {
        let script = Script::default();
        let requests = [put("cores", "2"), Request::get("/version"), put("args", "-x"), put("delete", "cores,args")];
        run(&script, &session(true, "root@pam"), &requests).await;
        let token = "PVEAPIToken=a@pve!t=s";
        let root = format!("{CONFIG}{} 1:x", by(1));
        let expected =
            [format!("{CONFIG}{token}"), format!("GET /version {token}"), LOGIN.to_owned(), root.clone(), root];
        assert_eq!(*script.log.lock().unwrap(), expected);
        // Another user's password gives nothing that the token has not.
        let script = Script::default();
        run(&script, &session(true, "admin@pve"), &[put("args", "-x")]).await;
        assert_eq!(*script.log.lock().unwrap(), [format!("{CONFIG}{token}")]);
    }
}
