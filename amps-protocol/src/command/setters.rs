//! The setters and getters that several families of commands share: each is written once, and a family
//! names those that it has.

/// Writes the named setters and getters.
macro_rules! setters {
    ($($setter:ident),* $(,)?) => {
        $(setters!(@ $setter);)*
    };
    (@ filter) => {
        /// The content filter: only messages or records that satisfy it. Empty means none.
        #[must_use]
        pub fn filter(mut self, filter: impl Into<Text<'a>>) -> Self {
            self.filter = unless_empty(filter);
            self
        }
    };
    (@ options) => {
        /// The options, replacing those set before.
        /// [`Options::check`](crate::Options::check) tells whether they go together.
        #[must_use]
        pub fn options(mut self, options: Options) -> Self {
            self.options = options;
            self
        }
    };
    (@ order_by) => {
        /// The order of the result, such as `/price DESC,/id`. By default there is none.
        #[must_use]
        pub fn order_by(mut self, order: impl Into<Text<'a>>) -> Self {
            self.order_by = unless_empty(order);
            self
        }
    };
    (@ batch_size) => {
        /// The most records in one frame; the server's default is 1, its limit 10,000.
        #[must_use]
        pub fn batch_size(mut self, records: u64) -> Self {
            self.batch_size = Some(records);
            self
        }
    };
    (@ sow_keys) => {
        /// Only the records with these keys, comma separated.
        #[must_use]
        pub fn sow_keys(mut self, keys: impl Into<Text<'a>>) -> Self {
            self.sow_keys = unless_empty(keys);
            self
        }
    };
    (@ top_n) => {
        /// The most records to return; 0 returns none. The option `top_n` is the form that
        /// AMPS prefers.
        #[must_use]
        pub fn top_n(mut self, records: u64) -> Self {
            self.top_n = Some(records);
            self
        }
    };
    (@ get_order_by) => {
        /// The order of the result, if there is one.
        pub fn get_order_by(&self) -> Option<&Text<'a>> {
            self.order_by.as_ref()
        }
    };
    (@ get_batch_size) => {
        /// The most records in one frame, if it says so.
        pub fn get_batch_size(&self) -> Option<u64> {
            self.batch_size
        }
    };
    (@ get_top_n) => {
        /// The most records to return, if there is a limit.
        pub fn get_top_n(&self) -> Option<u64> {
            self.top_n
        }
    };
    (@ get_sow_keys) => {
        /// The keys of the records, if it is restricted to some.
        pub fn get_sow_keys(&self) -> Option<&Text<'a>> {
            self.sow_keys.as_ref()
        }
    };
    (@ get_topic) => {
        /// The topic, or the regular expression.
        pub fn get_topic(&self) -> &Text<'a> {
            &self.topic
        }
    };
    (@ get_sub_id) => {
        /// The id of the subscription.
        pub fn get_sub_id(&self) -> &Id<'a> {
            &self.sub_id
        }
    };
    (@ get_query_id) => {
        /// The id of the query.
        pub fn get_query_id(&self) -> &Id<'a> {
            &self.query_id
        }
    };
    (@ get_filter) => {
        /// The content filter, if there is one.
        pub fn get_filter(&self) -> Option<&Text<'a>> {
            self.filter.as_ref()
        }
    };
    (@ get_options) => {
        /// The options.
        pub fn get_options(&self) -> &Options {
            &self.options
        }
    };
}
pub(super) use setters;
