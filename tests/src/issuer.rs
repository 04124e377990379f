//! An OAuth 2.1 authorization server on the loopback address, with keys and tokens of its own.
//!
//! It asks nobody anything: it has metadata, keys, and signs whatever a test wants signed.

use std::io::{BufRead as _, BufReader, Write as _};
use std::net::{Ipv4Addr, SocketAddr, TcpListener, TcpStream};
use std::sync::{Arc, Mutex, MutexGuard, PoisonError};
use std::thread;
use std::time::{SystemTime, UNIX_EPOCH};

use base64::Engine as _;
use base64::engine::general_purpose::URL_SAFE_NO_PAD;
use ring::hmac;
use ring::rand::SystemRandom;
use ring::signature::{
    ECDSA_P256_SHA256_FIXED_SIGNING, ECDSA_P384_SHA384_FIXED_SIGNING, EcdsaKeyPair, Ed25519KeyPair,
    KeyPair as _, RSA_PKCS1_SHA256, RSA_PKCS1_SHA384, RSA_PKCS1_SHA512, RSA_PSS_SHA256,
    RSA_PSS_SHA384, RSA_PSS_SHA512, RsaKeyPair,
};
use serde_json::{Value, json};

/// A key of nobody: making one takes seconds, and `ring` makes none.
const RSA: &[u8] = include_bytes!("rsa-2048.pk8");

/// A key to sign tokens with.
pub struct SigningKey {
    id: String,
    algorithm: &'static str,
    pair: Pair,
}

enum Pair {
    Ecdsa(EcdsaKeyPair),
    Ed25519(Ed25519KeyPair),
    Rsa(Box<RsaKeyPair>),
}

impl SigningKey {
    /// A key for an algorithm by its name in tokens: those with RSA have the same one.
    ///
    /// # Panics
    /// Where there is no such algorithm.
    pub fn new(id: &str, algorithm: &'static str) -> Self {
        let random = SystemRandom::new();
        let ecdsa = |kind| {
            let bytes = EcdsaKeyPair::generate_pkcs8(kind, &random).expect("there is entropy");
            let pair = EcdsaKeyPair::from_pkcs8(kind, bytes.as_ref(), &random);
            Pair::Ecdsa(pair.expect("it was just made"))
        };
        let pair = match algorithm {
            "ES256" => ecdsa(&ECDSA_P256_SHA256_FIXED_SIGNING),
            "ES384" => ecdsa(&ECDSA_P384_SHA384_FIXED_SIGNING),
            "EdDSA" => {
                let bytes = Ed25519KeyPair::generate_pkcs8(&random).expect("there is entropy");
                Pair::Ed25519(Ed25519KeyPair::from_pkcs8(bytes.as_ref()).expect("it was just made"))
            }
            _ => Pair::Rsa(Box::new(RsaKeyPair::from_pkcs8(RSA).expect("the file is a key"))),
        };
        Self { id: id.to_owned(), algorithm, pair }
    }

    /// The public key, as issuers publish it.
    pub fn public(&self) -> Value {
        let text = |bytes: &[u8]| URL_SAFE_NO_PAD.encode(bytes);
        let mut key = match &self.pair {
            Pair::Ecdsa(pair) => {
                let point = &pair.public_key().as_ref()[1..];
                let (x, y) = point.split_at(point.len() / 2);
                let curve = if x.len() == 32 { "P-256" } else { "P-384" };
                json!({"kty": "EC", "crv": curve, "x": text(x), "y": text(y)})
            }
            Pair::Ed25519(pair) => {
                json!({"kty": "OKP", "crv": "Ed25519", "x": text(pair.public_key().as_ref())})
            }
            Pair::Rsa(pair) => {
                let numbers: ring::rsa::PublicKeyComponents<Vec<u8>> = pair.public().into();
                json!({"kty": "RSA", "n": text(&numbers.n), "e": text(&numbers.e)})
            }
        };
        key["kid"] = json!(self.id);
        key["use"] = json!("sig");
        key
    }

    /// A token with these claims, and the header that an access token has.
    pub fn sign(&self, claims: &Value) -> String {
        self.sign_as(&json!({"typ": "at+jwt", "alg": self.algorithm, "kid": self.id}), claims)
    }

    /// The same with another header, whatever it says.
    ///
    /// # Panics
    /// Where the system has no entropy.
    pub fn sign_as(&self, header: &Value, claims: &Value) -> String {
        let message = message(header, claims);
        let (bytes, random) = (message.as_bytes(), SystemRandom::new());
        let signature = match &self.pair {
            Pair::Ecdsa(pair) => {
                pair.sign(&random, bytes).expect("there is entropy").as_ref().to_vec()
            }
            Pair::Ed25519(pair) => pair.sign(bytes).as_ref().to_vec(),
            Pair::Rsa(pair) => {
                let padding: &dyn ring::signature::RsaEncoding = match self.algorithm {
                    "RS384" => &RSA_PKCS1_SHA384,
                    "RS512" => &RSA_PKCS1_SHA512,
                    "PS256" => &RSA_PSS_SHA256,
                    "PS384" => &RSA_PSS_SHA384,
                    "PS512" => &RSA_PSS_SHA512,
                    _ => &RSA_PKCS1_SHA256,
                };
                let mut signature = vec![0; pair.public().modulus_len()];
                pair.sign(padding, &random, bytes, &mut signature).expect("there is entropy");
                signature
            }
        };
        format!("{message}.{}", URL_SAFE_NO_PAD.encode(signature))
    }

    /// A token that passes the public key, which everybody knows, for the secret of an HMAC.
    pub fn forge_by_hmac(&self, claims: &Value) -> String {
        let message = message(&json!({"typ": "at+jwt", "alg": "HS256", "kid": self.id}), claims);
        let public = self.public().to_string();
        let key = hmac::Key::new(hmac::HMAC_SHA256, public.as_bytes());
        let signature = hmac::sign(&key, message.as_bytes());
        format!("{message}.{}", URL_SAFE_NO_PAD.encode(signature))
    }
}

/// A token that nobody has signed.
pub fn unsigned(claims: &Value) -> String {
    format!("{}.", message(&json!({"typ": "at+jwt", "alg": "none"}), claims))
}

fn message(header: &Value, claims: &Value) -> String {
    let part = |json: &Value| URL_SAFE_NO_PAD.encode(json.to_string());
    format!("{}.{}", part(header), part(claims))
}

/// So many seconds from now, as tokens tell the time.
pub fn in_seconds(seconds: i64) -> i64 {
    let now = SystemTime::now().duration_since(UNIX_EPOCH).expect("it is later than 1970");
    i64::try_from(now.as_secs()).expect("it is earlier than that") + seconds
}

/// A server of metadata and keys, which lives as long as the process.
pub struct Issuer {
    address: SocketAddr,
    state: Arc<Mutex<State>>,
}

struct State {
    keys: Value,
    /// Whose metadata it shows.
    issuer: String,
    visits: usize,
}

impl Issuer {
    /// Starts one that publishes these keys.
    ///
    /// # Panics
    /// Where there is no port for it.
    pub fn start(keys: &[&SigningKey]) -> Self {
        let listener = TcpListener::bind((Ipv4Addr::LOCALHOST, 0)).expect("there is a free port");
        let address = listener.local_addr().expect("it is bound");
        let issuer = format!("http://{address}");
        let state = Arc::new(Mutex::new(State { keys: Value::Null, issuer, visits: 0 }));
        let shared = Arc::clone(&state);
        thread::spawn(move || {
            for stream in listener.incoming().flatten() {
                let shared = Arc::clone(&shared);
                thread::spawn(move || drop(answer(stream, &shared)));
            }
        });
        let issuer = Self { address, state };
        issuer.publish(keys);
        issuer
    }

    /// What it calls itself.
    pub fn url(&self) -> String {
        format!("http://{}", self.address)
    }

    /// Publishes these keys from now on, and no others.
    pub fn publish(&self, keys: &[&SigningKey]) {
        let keys: Vec<Value> = keys.iter().map(|key| key.public()).collect();
        // What is for others is there too, and nobody can read it.
        let odd = json!([{"kty": "oct", "k": "c2VjcmV0"}, {"kty": "EC"}, 7]);
        let all = odd.as_array().into_iter().flatten().chain(&keys);
        lock(&self.state).keys = json!({"keys": all.collect::<Vec<_>>()});
    }

    /// Shows the metadata of somebody else from now on.
    pub fn pose_as(&self, issuer: &str) {
        issuer.clone_into(&mut lock(&self.state).issuer);
    }

    /// How many requests it has had.
    pub fn visits(&self) -> usize {
        lock(&self.state).visits
    }
}

fn lock(state: &Mutex<State>) -> MutexGuard<'_, State> {
    state.lock().unwrap_or_else(PoisonError::into_inner)
}

fn answer(mut stream: TcpStream, state: &Mutex<State>) -> std::io::Result<()> {
    let mut lines = BufReader::new(stream.try_clone()?).lines();
    let first = lines.next().transpose()?.unwrap_or_default();
    while lines.next().transpose()?.is_some_and(|line| !line.is_empty()) {}
    let body = {
        let mut state = lock(state);
        state.visits += 1;
        match first.split(' ').nth(1) {
            // Those who speak OpenID Connect have no other.
            Some("/.well-known/openid-configuration") => {
                let keys = format!("http://{}/keys", stream.local_addr()?);
                Some(json!({"issuer": state.issuer, "jwks_uri": keys}))
            }
            Some("/keys") => Some(state.keys.clone()),
            _ => None,
        }
    };
    let (status, body) = match body {
        Some(body) => ("200 OK", body.to_string()),
        None => ("404 Not Found", String::new()),
    };
    let length = body.len();
    write!(
        stream,
        "HTTP/1.1 {status}\r\nContent-Type: application/json\r\nContent-Length: {length}\r\n\
         Connection: close\r\n\r\n{body}"
    )
}
