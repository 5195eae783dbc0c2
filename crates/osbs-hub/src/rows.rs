//! Rows of the database as structs of XML-RPC, and the options by which callers sort and cut lists (`queryOpts`).
//!
//! Must not know tables: callers hand in SQL of their own. What comes from outside is bound or checked against the
//! columns' names, never put into SQL.

use crate::call_error::{CallError, refused};
use crate::times::{seconds_value, time_value};
use osbs_koji::{Struct, Value};
use rusqlite::types::ToSql;
use rusqlite::{Row, Transaction, params_from_iter};

/// How a column is shown.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub(crate) enum Kind {
    Int,
    Double,
    Text,
    /// 0 or 1.
    Bool,
    /// JSON text, shown decoded.
    Json,
    /// Microseconds since the epoch, shown as text.
    Time,
    /// The same, shown as seconds.
    Seconds,
}

/// One member of the structs.
#[derive(Debug, Clone, Copy)]
pub(crate) struct Column {
    pub name: &'static str,
    sql: &'static str,
    kind: Kind,
}

/// A column.
pub(crate) const fn column(name: &'static str, sql: &'static str, kind: Kind) -> Column {
    Column { name, sql, kind }
}

/// A bound value.
pub(crate) type Bound = Box<dyn ToSql>;

/// A query in the making.
pub(crate) struct Query {
    columns: Vec<Column>,
    from: String,
    clauses: Vec<String>,
    values: Vec<Bound>,
    order: &'static str,
}

/// What a caller asks of a list besides its content.
#[derive(Debug, Default, Clone, PartialEq)]
pub(crate) struct QueryOpts {
    /// Names of columns, those with `true` backwards.
    order: Vec<(String, bool)>,
    limit: Option<i64>,
    offset: Option<i64>,
    count_only: bool,
}

impl QueryOpts {
    /// Reads a caller's `queryOpts`; nil is none.
    ///
    /// # Errors
    /// 1019: they are no struct; 1000: an option is of another type.
    pub(crate) fn read(value: &Value) -> Result<Self, CallError> {
        let mut opts = Self::default();
        let Some(members) = value.as_struct() else {
            return if value.is_nil() {
                Ok(opts)
            } else {
                Err(crate::call::wrong_type("queryOpts", "a struct", value))
            };
        };
        for (name, value) in members {
            match (name.as_str(), value) {
                (_, Value::Nil) => {}
                ("order", Value::String(order)) => opts.order = order.split(',').map(one_order).collect(),
                ("limit", Value::Int(limit)) => opts.limit = Some((*limit).max(0)),
                ("offset", Value::Int(offset)) => opts.offset = Some((*offset).max(0)),
                ("countOnly", value) => opts.count_only = value.is_true(),
                ("order" | "limit" | "offset", other) => {
                    return Err(refused(format!("Invalid type for queryOpts {name}: {}", other.type_name())));
                }
                // Others change what is locked or how rows look to the real hub's own code.
                _ => {}
            }
        }
        Ok(opts)
    }
}

impl QueryOpts {
    /// Sorts and cuts rows that were put together elsewhere.
    pub(crate) fn apply(&self, mut rows: Vec<Value>) -> Value {
        for (name, backwards) in self.order.iter().rev() {
            rows.sort_by(|one, other| {
                let order = compare(one.get(name), other.get(name));
                if *backwards { order.reverse() } else { order }
            });
        }
        if self.count_only {
            return Value::Int(rows.len() as i64);
        }
        let offset = self.offset.and_then(|offset| usize::try_from(offset).ok()).unwrap_or(0);
        let limit = self.limit.and_then(|limit| usize::try_from(limit).ok()).unwrap_or(usize::MAX);
        Value::Array(rows.into_iter().skip(offset).take(limit).collect())
    }
}

fn compare(one: &Value, other: &Value) -> std::cmp::Ordering {
    match (one, other) {
        (Value::String(one), Value::String(other)) => one.cmp(other),
        (Value::Bool(one), Value::Bool(other)) => one.cmp(other),
        _ => one.as_double().partial_cmp(&other.as_double()).unwrap_or(std::cmp::Ordering::Equal),
    }
}

fn one_order(item: &str) -> (String, bool) {
    let item = item.trim();
    let (name, backwards) = item.strip_prefix('-').map_or((item, false), |name| (name, true));
    // `build.id`: the table is nothing to us.
    (name.rsplit('.').next().unwrap_or(name).to_owned(), backwards)
}

impl Query {
    /// `SELECT columns FROM from`.
    pub(crate) fn new(columns: &[Column], from: &str) -> Self {
        let (clauses, values) = (Vec::new(), Vec::new());
        Self { columns: columns.to_vec(), from: from.to_owned(), clauses, values, order: "" }
    }

    /// One more member.
    pub(crate) fn column(mut self, column: Column) -> Self {
        self.columns.push(column);
        self
    }

    /// One more table, such as `JOIN x ON x.id = y.x_id`.
    pub(crate) fn join(mut self, join: &str) -> Self {
        self.from.push(' ');
        self.from.push_str(join);
        self
    }

    /// A condition without a value.
    pub(crate) fn filter(mut self, sql: &str) -> Self {
        self.clauses.push(sql.to_owned());
        self
    }

    /// A condition with one `?`.
    pub(crate) fn bind(mut self, sql: &str, value: impl ToSql + 'static) -> Self {
        self.clauses.push(sql.to_owned());
        self.values.push(Box::new(value));
        self
    }

    /// The same, if there is a value.
    pub(crate) fn bind_some(self, sql: &str, value: Option<impl ToSql + 'static>) -> Self {
        match value {
            Some(value) => self.bind(sql, value),
            None => self,
        }
    }

    /// `expression IN (values)`, or not in.
    pub(crate) fn bind_all(mut self, expression: &str, within: bool, values: Vec<Bound>) -> Self {
        let marks = vec!["?"; values.len()].join(", ");
        let not = if within { "" } else { "NOT " };
        self.clauses.push(format!("{expression} {not}IN ({marks})"));
        self.values.extend(values);
        self
    }

    /// The order of rows when the caller asks for none, SQL.
    pub(crate) fn order(mut self, sql: &'static str) -> Self {
        self.order = sql;
        self
    }

    /// The rows.
    ///
    /// # Errors
    /// The database failed.
    pub(crate) fn rows(&self, tx: &Transaction<'_>) -> Result<Vec<Struct>, CallError> {
        self.select(tx, &QueryOpts::default())
    }

    /// The first row, if any.
    ///
    /// # Errors
    /// The database failed.
    pub(crate) fn first(&self, tx: &Transaction<'_>) -> Result<Option<Struct>, CallError> {
        let opts = QueryOpts { limit: Some(1), ..QueryOpts::default() };
        Ok(self.select(tx, &opts)?.pop())
    }

    /// What a caller gets: the rows, or how many there are.
    ///
    /// # Errors
    /// 1000: an order by something that is no column; the database failed.
    pub(crate) fn answer(&self, tx: &Transaction<'_>, opts: &QueryOpts) -> Result<Value, CallError> {
        if opts.count_only {
            return self.count(tx).map(Value::Int);
        }
        Ok(Value::Array(self.select(tx, opts)?.into_iter().map(Value::Struct).collect()))
    }

    fn count(&self, tx: &Transaction<'_>) -> Result<i64, CallError> {
        let sql = format!("SELECT count(*) FROM {}{}", self.from, self.conditions());
        Ok(tx.prepare_cached(&sql)?.query_row(params_from_iter(&self.values), |row| row.get(0))?)
    }

    fn select(&self, tx: &Transaction<'_>, opts: &QueryOpts) -> Result<Vec<Struct>, CallError> {
        let columns: Vec<_> = self.columns.iter().map(|column| column.sql).collect();
        let (columns, conditions) = (columns.join(", "), self.conditions());
        let mut sql = format!("SELECT {columns} FROM {}{conditions}{}", self.from, self.order_by(opts)?);
        if opts.limit.is_some() || opts.offset.is_some() {
            // Both are integers of ours.
            sql.push_str(&format!(" LIMIT {} OFFSET {}", opts.limit.unwrap_or(-1), opts.offset.unwrap_or(0)));
        }
        let mut statement = tx.prepare_cached(&sql)?;
        let mut rows = statement.query(params_from_iter(&self.values))?;
        let mut found = Vec::new();
        while let Some(row) = rows.next()? {
            found.push(self.read(row)?);
        }
        Ok(found)
    }

    fn conditions(&self) -> String {
        if self.clauses.is_empty() { String::new() } else { format!(" WHERE ({})", self.clauses.join(") AND (")) }
    }

    fn order_by(&self, opts: &QueryOpts) -> Result<String, CallError> {
        if opts.order.is_empty() {
            return Ok(if self.order.is_empty() { String::new() } else { format!(" ORDER BY {}", self.order) });
        }
        let mut parts = Vec::new();
        for (name, backwards) in &opts.order {
            let column = self.columns.iter().find(|column| column.name == name);
            let column = column.ok_or_else(|| refused(format!("Invalid order: {name}")))?;
            parts.push(format!("{}{}", column.sql, if *backwards { " DESC" } else { "" }));
        }
        Ok(format!(" ORDER BY {}", parts.join(", ")))
    }

    fn read(&self, row: &Row<'_>) -> Result<Struct, CallError> {
        let mut members = Struct::with_capacity(self.columns.len());
        for (index, column) in self.columns.iter().enumerate() {
            members.insert(column.name.to_owned(), read_value(row, index, column.kind)?);
        }
        Ok(members)
    }
}

fn read_value(row: &Row<'_>, index: usize, kind: Kind) -> Result<Value, CallError> {
    Ok(match kind {
        Kind::Int => row.get::<_, Option<i64>>(index)?.into(),
        Kind::Double => row.get::<_, Option<f64>>(index)?.into(),
        Kind::Text => row.get::<_, Option<String>>(index)?.into(),
        Kind::Bool => row.get::<_, Option<bool>>(index)?.into(),
        Kind::Json => row.get::<_, Option<String>>(index)?.map_or(Value::Nil, |text| json_value(&text)),
        Kind::Time => time_value(row.get(index)?),
        Kind::Seconds => seconds_value(row.get(index)?),
    })
}

/// JSON that we wrote ourselves.
pub(crate) fn json_value(text: &str) -> Value {
    serde_json::from_str(text).map_or(Value::Nil, |json| Value::from_json(&json))
}

#[cfg(test)]
mod tests {
    use super::*;

    fn opts(members: Vec<(&str, Value)>) -> Result<QueryOpts, CallError> {
        QueryOpts::read(&Value::Struct(members.into_iter().map(|(name, value)| (name.to_owned(), value)).collect()))
    }

    fn check_answer(asked: Vec<(&str, Value)>, expected: Result<Value, i64>) {
        let mut database = rusqlite::Connection::open_in_memory().unwrap();
        let tx = database.transaction().unwrap();
        tx.execute_batch("CREATE TABLE t (id, name); INSERT INTO t VALUES (1, 'b'), (2, 'a'), (3, 'c')").unwrap();
        let query = Query::new(&[column("n", "t.name", Kind::Text)], "t").bind("id > ?", 0).order("id");
        let answer = opts(asked).and_then(|opts| query.answer(&tx, &opts));
        assert_eq!(answer.map_err(|error| error.into_fault().code), expected);
    }

    #[test]
    fn callers_sort_and_cut_lists() {
        let names = |names: &[&str]| {
            Ok(Value::Array(names.iter().map(|name| Value::members([("n", Value::from(*name))])).collect()))
        };
        check_answer(vec![], names(&["b", "a", "c"]));
        check_answer(vec![("order", "n".into())], names(&["a", "b", "c"]));
        check_answer(vec![("order", "-t.n".into()), ("limit", 2.into()), ("offset", 1.into())], names(&["b", "a"]));
        check_answer(vec![("countOnly", true.into()), ("limit", 1.into())], Ok(Value::Int(3)));
        check_answer(vec![("order", "name; DROP TABLE t".into())], Err(1000));
        check_answer(vec![("limit", "1".into())], Err(1000));
    }
}
