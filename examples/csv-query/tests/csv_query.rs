//! Questions to a real data set, the Palmer penguins, and to tables that are odd.
//!
//! The expected numbers were worked out with Python's `csv` and `statistics`.

use std::path::Path;

use csv_query::{
    Answer, Cell, Description, Kind, Query, Source, Table, describe, query as run_query,
};
use kami_guest::serde_json::{Value, from_value, json, to_value};

/// Asks as a model does: in JSON. A `path` is looked up among the tests.
fn query(question: Value) -> Result<Answer, String> {
    let question: Query = from_value(question).unwrap();
    let folder = Path::new(env!("CARGO_MANIFEST_DIR")).join("tests");
    run_query(&Table::read(&question.source(), &folder)?, &question)
}

fn describe_text(csv: &str) -> Description {
    let source = Source { csv: Some(csv.to_owned()), ..Source::default() };
    describe(&Table::read(&source, Path::new("")).unwrap())
}

#[track_caller]
fn check(question: Value, rows: Value) {
    let answer = query(question).unwrap();
    assert_eq!(to_value(answer.rows).unwrap(), rows);
}

#[track_caller]
fn check_error(question: Value, expected: &str) {
    assert_eq!(query(question).unwrap_err(), expected);
}

#[track_caller]
fn assert_close(actual: Option<f64>, expected: f64) {
    let actual = actual.unwrap();
    assert!((actual - expected).abs() < 1e-9, "{actual} for {expected}");
}

#[test]
fn describes_penguins() {
    let penguins = include_str!("penguins.csv");
    let description = describe_text(penguins);
    assert_eq!(description.rows, 344);
    let column = |name: &str| {
        let mut columns = description.columns.iter();
        columns.find(|column| column.name == name).unwrap()
    };

    let mass = column("body_mass_g");
    assert_eq!(mass.kind, Kind::Integer);
    assert_eq!((mass.empty, mass.distinct), (2, 94));
    assert_eq!(mass.min, Cell::Integer(2700));
    assert_eq!(mass.max, Cell::Integer(6300));
    assert_close(mass.lower_quartile, 3550.0);
    assert_close(mass.median, 4050.0);
    assert_close(mass.upper_quartile, 4750.0);
    assert_close(mass.mean, 4201.754385964912);
    assert_close(mass.standard_deviation, 801.9545356980955);

    assert_eq!(column("bill_length_mm").kind, Kind::Number);
    let sex = column("sex");
    assert_eq!((sex.kind, sex.empty, sex.distinct), (Kind::Text, 11, 2));
    let island = column("island");
    let common = island.most_common.iter();
    let common: Vec<_> = common.map(|entry| (&*entry.value, entry.count)).collect();
    assert_eq!(common, [("Biscoe", 168), ("Dream", 124), ("Torgersen", 52)]);
}

#[test]
fn tells_the_types_of_columns_apart() {
    let description = describe_text(
        "code,day,ok,ratio,n,id,none\n\
         01234,2026-11-21,true,.5,-3,123456789012345678901,\n\
         10115,2024-02-29T10:00:00Z,FALSE,1e3,7,123456789012345678902,NA\n",
    );
    let kinds: Vec<Kind> = description.columns.iter().map(|column| column.kind).collect();
    assert_eq!(
        kinds,
        [
            Kind::Text,
            Kind::Date,
            Kind::Boolean,
            Kind::Number,
            Kind::Integer,
            Kind::Text,
            Kind::Empty,
        ]
    );
    assert_eq!(description.columns[1].min, Cell::Text("2024-02-29T10:00:00Z".to_owned()));
}

#[test]
fn groups_and_aggregates_penguins() {
    let answer = query(json!({
        "path": "penguins.csv",
        "group_by": ["species"],
        "aggregates": [
            {"function": "count", "name": "penguins"},
            {"function": "count", "column": "body_mass_g"},
            {"function": "max", "column": "body_mass_g"},
            {"function": "count_distinct", "column": "island"},
        ],
        "sort_by": "penguins",
        "descending": true,
    }))
    .unwrap();
    assert_eq!(
        answer.columns,
        ["species", "penguins", "count(body_mass_g)", "max(body_mass_g)", "count_distinct(island)"]
    );
    assert_eq!(
        to_value(answer.rows).unwrap(),
        json!([
            ["Adelie", 152, 151, 4775, 3],
            ["Gentoo", 124, 123, 6300, 1],
            ["Chinstrap", 68, 68, 4800, 1],
        ])
    );
    assert_eq!(answer.rows_matched, 344);
    assert!(!answer.truncated);
}

#[test]
fn filters_and_selects_penguins() {
    check(
        json!({
            "path": "penguins.csv",
            "filters": [
                {"column": "island", "op": "eq", "value": "Dream"},
                {"column": "sex", "op": "in", "value": ["female"]},
                {"column": "bill_length_mm", "op": "gt", "value": 50},
            ],
            "columns": ["species", "bill_length_mm", "year"],
            "sort_by": "bill_length_mm",
            "descending": true,
            "limit": 3,
        }),
        json!([["Chinstrap", 58, 2007], ["Chinstrap", 50.9, 2009], ["Chinstrap", 50.5, 2008],]),
    );
}

#[test]
fn works_out_every_aggregate() {
    check(
        json!({
            "csv": "x\n1\n2\n\n4\nNA\n9\n",
            "aggregates": [
                {"function": "count"},
                {"function": "count", "column": "x"},
                {"function": "sum", "column": "x"},
                {"function": "mean", "column": "x"},
                {"function": "median", "column": "x"},
                {"function": "min", "column": "x"},
                {"function": "max", "column": "x"},
            ],
        }),
        json!([[5, 4, 16, 4, 3, 1, 9]]),
    );
    check(
        json!({
            "csv": "x,y\na,1\n",
            "filters": [{"column": "x", "op": "eq", "value": "b"}],
            "aggregates": [
                {"function": "count"},
                {"function": "sum", "column": "y"},
                {"function": "mean", "column": "y"},
            ],
        }),
        json!([[0, 0, null]]),
    );
}

#[test]
fn compares_by_kind() {
    let people = "name,age,born,member\n\
                  Ada,9,1815-12-10,true\n\
                  Émile,10,1902-01-05,false\n\
                  Grace,,1906-12-09,TRUE\n\
                  Zoë,n/a,,false\n";
    let names = |filter: Value| {
        let answer = query(json!({"csv": people, "filters": [filter], "columns": ["name"]}));
        let rows = answer.unwrap().rows.into_iter().flatten();
        rows.map(|cell| match cell {
            Cell::Text(name) => name,
            other => panic!("{other:?}"),
        })
        .collect::<Vec<_>>()
    };
    assert_eq!(names(json!({"column": "age", "op": "lt", "value": 10})), ["Ada"]);
    assert_eq!(names(json!({"column": "age", "op": "ge", "value": "10"})), ["Émile"]);
    assert_eq!(names(json!({"column": "age", "op": "ne", "value": 9})), ["Émile", "Grace", "Zoë"]);
    assert_eq!(names(json!({"column": "age", "op": "empty"})), ["Grace", "Zoë"]);
    assert_eq!(names(json!({"column": "age", "op": "not_empty"})), ["Ada", "Émile"]);
    assert_eq!(
        names(json!({"column": "born", "op": "gt", "value": "1902-01-01"})),
        ["Émile", "Grace"]
    );
    assert_eq!(names(json!({"column": "member", "op": "eq", "value": true})), ["Ada", "Grace"]);
    assert_eq!(names(json!({"column": "name", "op": "contains", "value": "É"})), ["Émile"]);
    assert_eq!(names(json!({"column": "name", "op": "starts_with", "value": "z"})), ["Zoë"]);
}

#[test]
fn empty_cells_come_last_either_way() {
    let sorted = |descending: bool| json!({"csv": "n\n2\n\"\"\n10\n", "sort_by": "n", "descending": descending});
    check(sorted(false), json!([[2], [10], [null]]));
    check(sorted(true), json!([[10], [2], [null]]));
}

#[test]
fn reads_csv_as_it_comes() {
    let expected = json!([["a;b, \"c\"\nd", 1]]);
    for csv in [
        "text,n\n\"a;b, \"\"c\"\"\nd\",1\n",
        "\u{feff}text;n\r\n\"a;b, \"\"c\"\"\nd\";1\r\n",
        "text\tn\n\"a;b, \"\"c\"\"\nd\"\t1",
    ] {
        check(json!({"csv": csv, "columns": ["text", "n"]}), expected.clone());
    }
    check(json!({"csv": "a~b\n1~2\n", "delimiter": "~"}), json!([[1, 2]]));
}

#[test]
fn says_when_there_is_more() {
    let answer = query(json!({"path": "penguins.csv", "limit": 2})).unwrap();
    assert_eq!(answer.rows.len(), 2);
    assert_eq!(answer.rows_matched, 344);
    assert!(answer.truncated);
}

#[test]
fn says_what_is_wrong() {
    let csv = "name,price\ntea,4.5\ncake,free\n";
    check_error(
        json!({"csv": csv, "columns": ["prise"]}),
        "there is no column `prise`: the columns are `name`, `price`",
    );
    check_error(
        json!({"csv": csv, "aggregates": [{"function": "sum", "column": "price"}]}),
        "`sum` needs numbers, but the column `price` has text in it, such as `free`",
    );
    check_error(
        json!({"csv": csv, "aggregates": [{"function": "mean"}]}),
        "the aggregate `mean` needs a `column`",
    );
    check_error(
        json!({"csv": csv, "filters": [{"column": "name", "op": "in", "value": "tea"}]}),
        "the filter on `name` needs a list as its `value` for its `op`",
    );
    check_error(
        json!({"csv": csv, "group_by": ["name"], "sort_by": "price"}),
        "`sort_by` is `price`, but the columns of the answer are `name`",
    );
    check_error(
        json!({"csv": csv, "group_by": ["name"], "columns": ["name"]}),
        "`columns` does not go with `group_by` and `aggregates`: these make the columns",
    );
    check_error(
        json!({"csv": "a,b\n1\n"}),
        "the table can't be read: CSV error: record 1 (line: 2, byte: 4): found record with 1 \
         fields, but the previous record has 2 fields",
    );
    check_error(
        json!({"csv": ""}),
        "the table is empty: it needs a header row that names the columns",
    );
    check_error(json!({}), "give the table: either `path` or `csv`");
    check_error(json!({"path": "a.csv", "csv": "a"}), "give either `path` or `csv`, not both");
    check_error(
        json!({"path": "/etc/passwd"}),
        "`/etc/passwd` leads out of the folder: give a path relative to it, without `..`",
    );
    let missing = query(json!({"path": "pinguins.csv"})).unwrap_err();
    assert!(missing.ends_with("; the folder holds csv_query.rs, penguins.csv"), "{missing}");
}
