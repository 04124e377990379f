//! The tool against a real HTTP server on loopback, and the steps that need none.

use std::collections::BTreeMap;
use std::io::{BufRead, BufReader, Read, Write};
use std::net::{TcpListener, TcpStream};
use std::thread;

use fetch::{Hop, Method, Page, Reply, Request, Window, fetch_url, markdown};
use kami_guest::content::Body;

/// A page as they are: with a head, scripts, navigation, relative links, a table and code.
const HTML: &str = r##"<!doctype html>
<html><head><title>Tea</title><style>p { color: green }</style></head>
<body>
  <nav><a href="/">Home</a></nav>
  <h1>Tea &amp; cake</h1>
  <p>Tea is <em>hot</em>; see <a href="../kinds?q=1#oolong">its <b>kinds</b></a>.</p>
  <ul><li>green</li><li>black</li></ul>
  <pre><code>brew --minutes 3</code></pre>
  <script>alert("no")</script>
  <p><img src="cup.png" alt="a cup"></p>
</body></html>"##;

/// Serves canned answers on loopback until the test ends, and returns its address.
fn serve() -> String {
    let listener = TcpListener::bind("127.0.0.1:0").unwrap();
    let address = format!("http://{}", listener.local_addr().unwrap());
    thread::spawn(move || {
        for stream in listener.incoming() {
            answer(stream.unwrap());
        }
    });
    address
}

fn answer(mut stream: TcpStream) {
    let mut reader = BufReader::new(stream.try_clone().unwrap());
    let mut head = String::new();
    while !head.ends_with("\r\n\r\n") {
        assert!(reader.read_line(&mut head).unwrap() > 0, "the request ended early");
    }
    let head = head.to_ascii_lowercase();
    let length = head.lines().find_map(|line| line.strip_prefix("content-length: "));
    let mut body = vec![0; length.map_or(0, |length| length.parse().unwrap())];
    reader.read_exact(&mut body).unwrap();
    let echo = format!("{head}{}", String::from_utf8(body).unwrap());
    let (status, header, body) = match head.split(' ').nth(1).unwrap() {
        "/tea/page" => ("200 OK", "Content-Type: text/html; charset=utf-8", HTML),
        "/echo" => ("200 OK", "Content-Type: text/plain", echo.as_str()),
        "/moved" => ("301 Moved Permanently", "Location: /tea/page", ""),
        "/see-other" => ("303 See Other", "Location: echo", ""),
        "/loop" => ("302 Found", "Location: /loop", ""),
        "/out" => ("302 Found", "Location: ftp://example.org/", ""),
        "/long" => ("200 OK", "Content-Type: text/plain", "0123456789"),
        "/picture" => ("200 OK", "Content-Type: image/png", "\u{0}png"),
        "/archive" => ("200 OK", "Content-Type: application/zip", "PK\u{0}"),
        _ => ("404 Not Found", "Content-Type: text/html", "<h1>No such tea</h1>"),
    };
    let length = body.len();
    write!(
        stream,
        "HTTP/1.1 {status}\r\n{header}\r\nContent-Length: {length}\r\nConnection: close\r\n\r\n{body}"
    )
    .unwrap();
}

fn get(url: String) -> Request {
    Request {
        url,
        method: Method::Get,
        headers: BTreeMap::new(),
        body: None,
        raw: false,
        start: 0,
        max_chars: 20_000,
    }
}

fn text(request: Request) -> Result<String, String> {
    let content = fetch_url(request)?;
    Ok(content[0].as_text().unwrap().to_owned())
}

#[test]
fn a_page_comes_as_markdown_with_absolute_links() {
    let server = serve();
    let expected = format!(
        "{server}/tea/page (text/html as Markdown)\n\n\
         [Home]({server}/)\n\n\
         # Tea & cake\n\n\
         Tea is *hot*; see [its **kinds**]({server}/kinds?q=1#oolong).\n\n\
         - green\n- black\n\n\
         ```\nbrew --minutes 3\n```\n\n\
         ![a cup]({server}/tea/cup.png)"
    );
    assert_eq!(text(get(format!("{server}/tea/page"))).unwrap(), expected);
    assert_eq!(text(get(format!("{server}/moved"))).unwrap(), expected);
}

#[test]
fn raw_leaves_html_alone() {
    let request = Request { raw: true, ..get(format!("{}/tea/page", serve())) };
    assert!(text(request).unwrap().ends_with(HTML));
}

#[test]
fn posts_a_body_with_headers() {
    let post = |path: &str| Request {
        method: Method::Post,
        headers: BTreeMap::from([("X-Tea".to_owned(), "green".to_owned())]),
        body: Some(r#"{"cups": 2}"#.to_owned()),
        ..get(format!("{}{path}", serve()))
    };
    let echo = text(post("/echo")).unwrap();
    assert!(echo.contains("\n\npost /echo http/1.1\r\n"), "{echo}");
    assert!(echo.contains("x-tea: green\r\n"), "{echo}");
    assert!(echo.contains("content-type: application/json\r\n"), "{echo}");
    assert!(echo.ends_with("\r\n\r\n{\"cups\": 2}"), "{echo}");

    let echo = text(post("/see-other")).unwrap();
    assert!(echo.contains("\n\nget /echo http/1.1\r\n"), "{echo}");
    assert!(echo.ends_with("\r\n\r\n"), "{echo}");
}

#[test]
fn a_long_text_comes_in_pieces() {
    let server = serve();
    let piece = |start| Request { start, max_chars: 6, ..get(format!("{server}/long")) };
    assert_eq!(
        text(piece(0)).unwrap(),
        format!(
            "{server}/long (text/plain)\n\n012345\n\n\
             [characters 0 to 6 of 10: read on with start = 6]"
        )
    );
    assert_eq!(text(piece(6)).unwrap(), format!("{server}/long (text/plain)\n\n6789"));
    assert_eq!(
        text(piece(11)).unwrap_err(),
        format!("`start` is 11, but {server}/long has only 10 characters")
    );
}

#[test]
fn a_picture_comes_as_a_picture() {
    let content = fetch_url(get(format!("{}/picture", serve()))).unwrap();
    let Body::Image(picture) = &content[0].body else {
        panic!("{content:?}");
    };
    assert_eq!(picture.mime_type, "image/png");
    assert_eq!(picture.data, b"\0png");
}

#[test]
fn says_what_went_wrong() {
    let server = serve();
    let error = |path: &str| text(get(format!("{server}{path}"))).unwrap_err();
    assert_eq!(
        error("/nowhere"),
        format!("{server}/nowhere answered with status 404: # No such tea")
    );
    assert_eq!(
        error("/archive"),
        format!(
            "{server}/archive answered 200 with 3 bytes of `application/zip`, which is neither \
             text nor a picture"
        )
    );
    assert_eq!(error("/loop"), format!("gave up after 8 redirects, the last to {server}/loop"));
    assert_eq!(
        error("/out"),
        "`ftp://example.org/` is not a web address: it has to start with http:// or https://"
    );
}

#[test]
fn says_what_is_wrong_with_a_request() {
    let error = |request: Request| fetch_url(request).unwrap_err();
    assert_eq!(
        error(get("docs.rs/serde".to_owned())),
        "`docs.rs/serde` is not a valid URL: give a whole one, with spaces written as `%20`"
    );
    assert_eq!(
        error(get("file:///etc/passwd".to_owned())),
        "`file:///etc/passwd` is not a web address: it has to start with http:// or https://"
    );
    let with_body = Request { body: Some("x".to_owned()), ..get("http://127.0.0.1/".to_owned()) };
    assert_eq!(error(with_body), "a GET carries no `body`: set `method` to POST");
}

#[test]
fn redirects_keep_what_they_should() {
    let hop = Hop {
        url: "https://a.example/dir/page".to_owned(),
        method: Method::Post,
        headers: [("authorization", "secret"), ("accept", "*/*"), ("content-type", "text/x")]
            .map(|(name, value)| (name.to_owned(), value.to_owned()))
            .to_vec(),
        body: Some("tea".to_owned()),
    };
    let names = |hop: &Hop| {
        let names = hop.headers.iter().map(|(name, _)| name.as_str());
        names.collect::<Vec<_>>().join(" ")
    };

    let same = hop.clone().redirected(307, "../x#y").unwrap();
    assert_eq!(same.url, "https://a.example/x");
    assert_eq!((same.method, same.body.as_deref()), (Method::Post, Some("tea")));
    assert_eq!(names(&same), "authorization accept content-type");

    let other = hop.clone().redirected(302, "//b.example/ü").unwrap();
    assert_eq!(other.url, "https://b.example/%C3%BC");
    assert_eq!((other.method, &other.body), (Method::Get, &None));
    assert_eq!(names(&other), "accept");

    let downgraded = hop.redirected(308, "http://a.example/").unwrap();
    assert_eq!(names(&downgraded), "accept content-type");
}

#[test]
fn pages_need_no_content_type_to_be_html() {
    let reply = |body: &str| Reply {
        url: "http://a.example/".to_owned(),
        status: 200,
        content_type: String::new(),
        body: body.as_bytes().to_vec(),
    };
    let all = Window { start: 0, max_chars: 1000 };
    let page = Page::read(reply(" <!DOCTYPE HTML><b>bold</b>"), false).unwrap();
    let content = page.show(all).unwrap();
    let shown = content.as_text().unwrap();
    assert!(shown.ends_with("\n\n**bold**"), "{shown}");
    let page = Page::read(reply("plain <b>"), false).unwrap();
    let content = page.show(all).unwrap();
    assert!(content.as_text().unwrap().ends_with("\n\nplain <b>"));
}

#[test]
fn tables_become_tables() {
    let html =
        "<table><tr><th>tea</th><th>minutes</th></tr><tr><td>green</td><td>2</td></tr></table>";
    let expected = "| tea   | minutes |\n| ----- | ------- |\n| green | 2       |";
    assert_eq!(markdown("http://a.example/", html).unwrap().trim(), expected);
}
