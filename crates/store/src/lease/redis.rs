//! Leases in Redis: for resources without SQL.
//!
//! **Coordination only.** Nothing that such a lease guards compares its term in the same step, so a holder that was
//! paused after it looked can still act once. A Redis that loses its data also starts terms over. Where a database
//! is at hand, its own leases are the ones to take.
//!
//! Each operation is one script, which Redis runs whole. Time is the server's.

use std::time::Duration;

use palisade_lease::{Acquired, Grant, Held, Holder, LeaseStore, Name, Seen, Term, Ttl};
use percent_encoding::percent_decode_str;
use tokio::sync::Mutex;
use tokio::time::timeout;

use super::Error;
use super::wire::{Answer, Connection, Fault};

const PATIENCE: Duration = Duration::from_secs(10);

/// Where a lease is, and the names of all of them.
const KEY: &str = "palisade:lease:";
const NAMES: &str = "palisade:leases";

/// `now` and a lease as it is answered: term, holder, milliseconds left and since it was acquired, renewals.
const PRELUDE: &str = "local t = redis.call('TIME')
local now = t[1] * 1000 + math.floor(t[2] / 1000)
local function whole(n) return string.format('%.0f', n) end
local function seen(key)
  local l = redis.call('HMGET', key, 'term', 'holder', 'expires', 'acquired', 'renewals')
  if not l[1] then return false end
  return {l[1], l[2], whole(math.max(0, l[3] - now)), whole(now - l[4]), l[5]}
end
local function own(key, term, holder)
  local l = redis.call('HMGET', key, 'term', 'holder', 'expires')
  return l[1] == term and l[2] == holder and tonumber(l[3]) > now
end
";

const ACQUIRE: &str = "local l = redis.call('HMGET', KEYS[1], 'holder', 'expires')
if l[1] and l[1] ~= ARGV[2] and tonumber(l[2]) > now then return {'busy', seen(KEYS[1])} end
redis.call('HINCRBY', KEYS[1], 'term', 1)
redis.call('HSET', KEYS[1], 'holder', ARGV[2], 'acquired', whole(now), 'expires', whole(now + ARGV[3]), 'renewals', '0')
redis.call('SADD', KEYS[2], ARGV[1])
return {'granted', seen(KEYS[1])}";

const RENEW: &str = "if not own(KEYS[1], ARGV[1], ARGV[2]) then return 0 end
redis.call('HSET', KEYS[1], 'expires', whole(now + ARGV[3]))
redis.call('HINCRBY', KEYS[1], 'renewals', 1)
return 1";

const RELEASE: &str = "if not own(KEYS[1], ARGV[1], ARGV[2]) then return 0 end
redis.call('HSET', KEYS[1], 'expires', whole(now))
return 1";

const SHOW: &str = "return seen(KEYS[1])";

/// Terms stay below 2^53, where Lua's numbers are exact: a restore adds 2^32.
const RAISE: &str = "local l = redis.call('HMGET', KEYS[1], 'term', 'expires')
if not l[1] then return 0 end
redis.call('HSET', KEYS[1], 'term', whole(math.max(tonumber(l[1]), tonumber(ARGV[1])) + 4294967296),
  'expires', whole(math.min(tonumber(l[2]), now)))
return 1";

/// The leases of one Redis.
#[derive(Debug)]
pub struct RedisLeases {
    place: Place,
    connection: Mutex<Option<Connection>>,
}

struct Place {
    host: String,
    port: u16,
    user: Option<String>,
    password: Option<String>,
    database: String,
}

/// Without the password.
impl std::fmt::Debug for Place {
    fn fmt(&self, f: &mut std::fmt::Formatter<'_>) -> std::fmt::Result {
        write!(f, "Place({}:{}/{})", self.host, self.port, self.database)
    }
}

impl RedisLeases {
    /// Reads `redis://USER:PASSWORD@HOST:PORT/DATABASE`. Connects when first asked.
    ///
    /// # Errors
    /// [`Error::Url`], whose text holds no part of the URL. Off loopback the URL has to be encrypted, which is not
    /// supported yet.
    pub fn new(url: &str) -> Result<Self, Error> {
        let wrong = |problem: &str| Error::Url { problem: problem.to_owned() };
        let decoded = |text: &str| {
            let text = percent_decode_str(text).decode_utf8().map_err(|_| wrong("is not UTF-8"))?;
            Ok::<_, Error>(text.into_owned())
        };
        if url.trim().starts_with("rediss://") {
            return Err(wrong("asks for TLS, which is not supported yet: take a tunnel to loopback"));
        }
        let rest =
            url.trim().strip_prefix("redis://").ok_or_else(|| wrong("does not begin with redis://"))?;
        let (authority, database) = rest.split_once('/').unwrap_or((rest, ""));
        let (login, place) = authority.rsplit_once('@').unwrap_or(("", authority));
        let (user, password) = login.split_once(':').unwrap_or(("", login));
        let (host, port) = place.rsplit_once(':').unwrap_or((place, "6379"));
        if !matches!(host, "localhost" | "127.0.0.1") {
            return Err(wrong("leads off this machine without TLS: take a tunnel to loopback"));
        }
        if !database.bytes().all(|byte| byte.is_ascii_digit()) {
            return Err(wrong("has a database that is no number"));
        }
        let some = |text: String| (!text.is_empty()).then_some(text);
        let place = Place {
            host: host.to_owned(),
            port: port.parse().map_err(|_| wrong("has a port that is no number"))?,
            user: some(decoded(user)?),
            password: some(decoded(password)?),
            database: database.to_owned(),
        };
        Ok(Self { place, connection: Mutex::new(None) })
    }

    fn problem(&self, problem: impl Into<String>) -> Error {
        Error::Redis { place: format!("{}:{}", self.place.host, self.place.port), problem: problem.into() }
    }

    async fn ask(&self, words: &[&str]) -> Result<Answer, Error> {
        let mut kept = self.connection.lock().await;
        let silent = |_| Error::Silent {
            store: format!("Redis at {}:{}", self.place.host, self.place.port),
            seconds: PATIENCE.as_secs(),
        };
        let asked = async {
            // Taken out, so that a future that is dropped in the middle leaves no connection with an answer to come.
            let mut connection = match kept.take() {
                Some(connection) => connection,
                None => self.connect().await?,
            };
            let answer = connection.ask(words).await?;
            Ok::<_, Fault>((connection, answer))
        };
        let (connection, answer) = timeout(PATIENCE, asked)
            .await
            .map_err(silent)?
            .map_err(|fault| self.problem(fault.to_string()))?;
        *kept = Some(connection);
        match answer {
            Answer::Refused(said) => Err(self.problem(said)),
            answer => Ok(answer),
        }
    }

    async fn connect(&self) -> Result<Connection, Fault> {
        let Place { host, port, user, password, database } = &self.place;
        let mut connection = Connection::open(host, *port).await?;
        let mut first = Vec::new();
        match (user, password) {
            (Some(user), Some(password)) => first.push(vec!["AUTH", user, password]),
            (None, Some(password)) => first.push(vec!["AUTH", password]),
            (_, None) => {}
        }
        if !database.is_empty() {
            first.push(vec!["SELECT", database]);
        }
        for words in first {
            if let Answer::Refused(said) = connection.ask(&words).await? {
                return Err(Fault::Refused(said));
            }
        }
        Ok(connection)
    }

    async fn run(&self, script: &str, name: &Name, arguments: &[&str]) -> Result<Answer, Error> {
        let script = format!("{PRELUDE}{script}");
        let key = format!("{KEY}{name}");
        let mut words = vec!["EVAL", &script, "2", &key, NAMES];
        words.extend(arguments);
        self.ask(&words).await
    }

    async fn changed(&self, script: &str, name: &Name, arguments: &[&str]) -> Result<bool, Error> {
        Ok(self.run(script, name, arguments).await? == Answer::Number(1))
    }

    async fn names(&self) -> Result<Vec<Name>, Error> {
        let Answer::List(members) = self.ask(&["SMEMBERS", NAMES]).await? else {
            return Err(self.problem("the names of leases are no list"));
        };
        let mut names = Vec::new();
        for member in members {
            let Answer::Text(text) = member else { continue };
            names.push(Name::new(&text).map_err(|error| self.problem(error.to_string()))?);
        }
        names.sort();
        Ok(names)
    }

    fn seen(&self, name: &Name, answer: &Answer) -> Result<Option<Seen>, Error> {
        let Answer::List(fields) = answer else { return Ok(None) };
        let [term, holder, left, acquired, renewals] = fields.as_slice() else {
            return Err(self.problem(format!("the lease {name} has {} fields", fields.len())));
        };
        let text = |field: &Answer| match field {
            Answer::Text(text) => text.clone(),
            _ => String::new(),
        };
        let number = |field: &Answer| {
            text(field).parse::<i64>().map_err(|_| self.problem(format!("the lease {name} holds no number")))
        };
        let unsigned = |field: &Answer| number(field).map(|number| u64::try_from(number).ok());
        Ok(Some(Seen {
            name: name.clone(),
            term: Term::new(unsigned(term)?.unwrap_or_default()),
            holder: Holder::new(&text(holder)).map_err(|error| self.problem(error.to_string()))?,
            valid_for: unsigned(left)?.filter(|ms| *ms > 0).map(Duration::from_millis),
            acquired: unsigned(acquired)?.map(Duration::from_millis),
            renewals: unsigned(renewals)?.unwrap_or_default(),
        }))
    }
}

impl LeaseStore for RedisLeases {
    type Error = Error;

    async fn acquire(&self, name: &Name, holder: &Holder, ttl: Ttl) -> Result<Acquired, Error> {
        let ms = ttl.ms().to_string();
        let answer = self.run(ACQUIRE, name, &[name.as_str(), holder.as_str(), &ms]).await?;
        let Answer::List(parts) = answer else {
            return Err(self.problem("the answer to a question is none"));
        };
        let [verdict, lease] = parts.as_slice() else {
            return Err(self.problem("an answer has no two parts"));
        };
        let seen =
            self.seen(name, lease)?.ok_or_else(|| self.problem(format!("the lease {name} is gone")))?;
        if *verdict == Answer::Text("granted".to_owned()) {
            let held = Held { name: seen.name, term: seen.term, holder: seen.holder };
            return Ok(Acquired::Granted(Grant { held, ttl }));
        }
        Ok(Acquired::Busy(seen))
    }

    async fn renew(&self, held: &Held, ttl: Ttl) -> Result<bool, Error> {
        let (term, ms) = (held.term.to_string(), ttl.ms().to_string());
        self.changed(RENEW, &held.name, &[&term, held.holder.as_str(), &ms]).await
    }

    async fn release(&self, held: &Held) -> Result<bool, Error> {
        let term = held.term.to_string();
        self.changed(RELEASE, &held.name, &[&term, held.holder.as_str()]).await
    }

    async fn show(&self, name: &Name) -> Result<Option<Seen>, Error> {
        let answer = self.run(SHOW, name, &[]).await?;
        self.seen(name, &answer)
    }

    async fn list(&self) -> Result<Vec<Seen>, Error> {
        let mut list = Vec::new();
        for name in self.names().await? {
            list.extend(self.show(&name).await?);
        }
        Ok(list)
    }

    async fn after_restore(&self, shown: Term) -> Result<Vec<Seen>, Error> {
        let shown = shown.to_string();
        for name in self.names().await? {
            self.changed(RAISE, &name, &[&shown]).await?;
        }
        self.list().await
    }
}
