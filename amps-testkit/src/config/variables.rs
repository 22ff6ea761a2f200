//! What `${VAR}` stands for.
//!
//! Owns the one place that reads the environment (server.md 8.7), and only while a
//! configuration file is read.

use std::collections::BTreeMap;

/// Variables by name, and whether the environment has more.
#[derive(Clone, Debug)]
pub(crate) struct Variables {
    own: BTreeMap<String, String>,
    environment: bool,
}

impl Default for Variables {
    fn default() -> Self {
        Self { own: BTreeMap::new(), environment: true }
    }
}

impl Variables {
    pub(crate) fn define(&mut self, name: impl Into<String>, value: impl Into<String>) {
        self.own.insert(name.into(), value.into());
    }

    pub(crate) fn use_environment(&mut self, on: bool) {
        self.environment = on;
    }

    fn get(&self, name: &str) -> Option<String> {
        let own = self.own.get(name).cloned();
        own.or_else(|| if self.environment { std::env::var(name).ok() } else { None })
    }

    /// Replaces every `${VAR}`. What a variable holds is not searched for others.
    ///
    /// # Errors
    /// What is wrong, and what to do.
    pub(crate) fn expand(&self, text: &str) -> Result<String, String> {
        let mut expanded = String::with_capacity(text.len());
        let mut rest = text;
        while let Some((before, after)) = rest.split_once("${") {
            let Some((name, after)) = after.split_once('}') else {
                return Err("\"${\" without \"}\"; write ${NAME}".to_owned());
            };
            let value = self.get(name).ok_or_else(|| {
                format!("the variable {name} is not set; set it in the environment or with -D {name}=VALUE")
            })?;
            expanded.push_str(before);
            expanded.push_str(&value);
            rest = after;
        }
        expanded.push_str(rest);
        Ok(expanded)
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    fn variables() -> Variables {
        let mut variables = Variables::default();
        variables.use_environment(false);
        variables.define("HOST", "localhost");
        variables.define("TRICK", "${HOST}");
        variables
    }

    #[test]
    fn variables_are_replaced_once() {
        let expand = |text| variables().expand(text).unwrap();
        assert_eq!(expand("a ${HOST}:${HOST} b"), "a localhost:localhost b");
        assert_eq!(expand("${TRICK}"), "${HOST}");
        assert_eq!(expand("$HOST {HOST} $"), "$HOST {HOST} $");
    }

    #[test]
    fn what_is_not_set_or_not_closed_is_an_error() {
        let fault = |text| variables().expand(text).unwrap_err();
        assert_eq!(
            fault("${PORT}"),
            "the variable PORT is not set; set it in the environment or with -D PORT=VALUE"
        );
        assert_eq!(fault("${PORT"), "\"${\" without \"}\"; write ${NAME}");
    }

    #[test]
    fn the_environment_counts_unless_it_is_switched_off() {
        let text = "${PATH}";
        assert_eq!(Variables::default().expand(text).unwrap(), std::env::var("PATH").unwrap());
        assert!(variables().expand(text).is_err());
    }
}
