//! Who asks: a ticket in a cookie, a ticket or an API token in the `Authorization` header.

use super::{Access, Subject};
use crate::pve::http::percent_decode;
use crate::sim::answer::Failure;
use crate::sim::cluster::IncomingRequest;

const COOKIE: &str = "PVEAuthCookie";
const TOKEN: &str = "PVEAPIToken";

/// What of a header follows `NAME=` or `NAME `, up to a semicolon; an empty one counts as none.
fn value_of(header: Option<&str>, name: &str) -> Option<String> {
    let header = header?;
    let starts = header.match_indices(name).filter(|(at, _)| {
        let before = header[..*at].chars().next_back();
        before.is_none_or(char::is_whitespace)
    });
    let mut values = starts.filter_map(|(at, _)| header[at + name.len()..].strip_prefix(['=', ' ']));
    let value = values.next()?.split(';').next()?;
    Some(percent_decode(value)).filter(|value| !value.is_empty())
}

/// True where the request carries an API token, valid or not, and no ticket.
pub(in crate::sim) fn is_by_token(request: &IncomingRequest) -> bool {
    ticket_of(request).is_none() && value_of(request.authorization.as_deref(), TOKEN).is_some()
}

/// A ticket is looked for in the cookie first.
fn ticket_of(request: &IncomingRequest) -> Option<String> {
    value_of(request.cookie.as_deref(), COOKIE).or_else(|| value_of(request.authorization.as_deref(), COOKIE))
}

fn refused(reason: &str) -> Failure {
    Failure::Empty(401, reason.to_owned())
}

impl Access {
    /// Finds out who asks; `now` in seconds of Unix time.
    pub(in crate::sim) fn authenticate(&self, request: &IncomingRequest, now: u64) -> Result<Subject, Failure> {
        // Whatever is wrong with a credential, the answer is the same.
        let failed = || refused("Authentication failed!");
        let Some(ticket) = ticket_of(request) else {
            let token = value_of(request.authorization.as_deref(), TOKEN).ok_or_else(|| refused("No ticket"))?;
            return self.verify_token(&token, now).ok_or_else(failed);
        };
        let user = self.key.user_of(&ticket, now).ok_or_else(failed)?;
        self.check_enabled(user, now).map_err(|_| failed())?;
        let token = request.csrf_token.as_deref().unwrap_or_default();
        if request.method != "GET" && !self.key.is_csrf_token(token, user, now) {
            return Err(refused("Permission denied - invalid csrf token"));
        }
        Ok(Subject { id: user.to_owned() })
    }

    fn verify_token(&self, text: &str, now: u64) -> Option<Subject> {
        let (id, secret) = text.rsplit_once('=')?;
        let (user, name) = id.split_once('!')?;
        self.check_enabled(user, now).ok()?;
        let token = self.users.get(user)?.tokens.get(name)?;
        let expired = token.expire != 0 && token.expire < now;
        (!expired && token.secret == secret).then(|| Subject { id: id.to_owned() })
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn headers_are_read_as_proxmox_reads_them() {
        for (header, value) in [
            ("PVEAPIToken=a@pve!t=s", Some("a@pve!t=s")),
            ("PVEAPIToken a%40pve!t=s; x", Some("a@pve!t=s")),
            ("x=y; PVEAPIToken=v", Some("v")),
            ("xPVEAPIToken=v", None),
            ("PVEAPITokens=v", None),
            ("PVEAPIToken=", None),
            ("", None),
        ] {
            assert_eq!(value_of(Some(header), TOKEN).as_deref(), value, "{header}");
        }
        assert_eq!(value_of(Some("a=b; PVEAuthCookie=PVE%3Ar; c=d"), COOKIE).as_deref(), Some("PVE:r"));
        assert_eq!(value_of(None, COOKIE), None);
    }
}
