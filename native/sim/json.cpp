/* SPDX-License-Identifier: Apache-2.0 */
#include "json.hpp"

#include <algorithm>
#include <cctype>
#include <cstddef>
#include <cstring>
#include <iterator>
#include <nlohmann/json.hpp>
#include <set>

namespace schedtuna::sim
{
namespace
{

constexpr std::size_t MAX_DEPTH = 16;  // rt-app's deepest is 6

// Characters of a text; counts the newlines that the parser has passed, which itself says where only in its errors.
struct CountingIterator {
	using iterator_category = std::input_iterator_tag;
	using value_type = char;
	using difference_type = std::ptrdiff_t;
	using pointer = const char *;
	using reference = const char &;

	const char *at;
	unsigned *line;

	reference operator*() const
	{
		return *at;
	}
	CountingIterator &operator++()
	{
		*line += *at++ == '\n';
		return *this;
	}
	CountingIterator operator++(int)
	{
		CountingIterator before = *this;
		++*this;
		return before;
	}
	bool operator==(const CountingIterator &other) const
	{
		return at == other.at;
	}
};

class Builder : public nlohmann::json_sax<nlohmann::json>
{
      public:
	JsonValue root;
	unsigned line = 1;

	explicit Builder(const std::string &name) : name_(name)
	{
	}
	bool null() override
	{
		return add(JsonValue::Kind::Null);
	}
	bool boolean(bool value) override
	{
		return add(JsonValue::Kind::Boolean, value);
	}
	bool number_integer(number_integer_t value) override
	{
		return add(JsonValue::Kind::Integer, value);
	}
	bool number_unsigned(number_unsigned_t value) override
	{
		if (value > static_cast<number_unsigned_t>(NEVER))
			fail("a number beyond 2^63");
		return add(JsonValue::Kind::Integer, static_cast<std::int64_t>(value));
	}
	bool number_float(number_float_t, const string_t &) override
	{
		return add(JsonValue::Kind::Real);
	}
	bool string(string_t &value) override
	{
		return add(JsonValue::Kind::String, 0, std::move(value));
	}
	bool binary(binary_t &) override
	{
		return false;  // not in texts
	}
	bool start_object(std::size_t) override
	{
		return open(JsonValue::Kind::Object);
	}
	bool key(string_t &value) override
	{
		if (!keys_.back().insert(value).second)
			fail('"' + value + "\" stands twice in one object, of which rt-app sees the last alone: "
			     + "write \"" + value + "0\", \"" + value + "1\", ...");
		key_ = std::move(value);
		key_line_ = line;
		return true;
	}
	bool end_object() override
	{
		return close();
	}
	bool start_array(std::size_t) override
	{
		return open(JsonValue::Kind::Array);
	}
	bool end_array() override
	{
		return close();
	}
	bool parse_error(std::size_t, const std::string &, const nlohmann::json::exception &error) override
	{
		// "[json.exception...] parse error at line 1, column 2: while parsing value - WHAT; last read: 'TEXT';
		// ..."
		std::string what = error.what();
		what.erase(0, std::min(what.find(" - "), what.size() - 3) + 3);
		fail("not JSON: " + what.substr(0, what.find("; last read")));
	}

      private:
	const std::string &name_;
	std::vector<JsonValue *> open_;	 // only the innermost grows, so that the others stay where they are
	std::vector<std::set<std::string>> keys_;
	std::string key_;
	unsigned key_line_ = 0;

	[[noreturn]] void fail(const std::string &what) const
	{
		throw BadInput(name_ + ":" + std::to_string(line) + ": " + what);
	}
	// Where a new value goes. Its line is that of its key; in an array, where a number is read together with the
	// character after it, that of the array.
	JsonValue &place()
	{
		if (open_.empty()) {
			root.line = line;
			return root;
		}
		JsonValue &parent = *open_.back();
		auto &[key, value] = parent.members.emplace_back(std::move(key_), JsonValue{});
		key_.clear();
		value.line = parent.kind == JsonValue::Kind::Object ? key_line_ : parent.line;
		return value;
	}
	bool add(JsonValue::Kind kind, std::int64_t integer = 0, std::string text = {})
	{
		JsonValue &value = place();
		value.kind = kind;
		value.integer = integer;
		value.text = std::move(text);
		return true;
	}
	bool open(JsonValue::Kind kind)
	{
		if (open_.size() == MAX_DEPTH)
			fail("nested deeper than " + std::to_string(MAX_DEPTH));
		JsonValue &value = place();
		value.kind = kind;
		open_.push_back(&value);
		keys_.emplace_back();
		return true;
	}
	bool close()
	{
		open_.pop_back();
		keys_.pop_back();
		return true;
	}
};

// Put blanks in the place of commas after an object's or array's last entry.
std::string without_last_commas(std::string_view text)
{
	std::string out(text);
	std::size_t last = 0;  // where the last character stands that is neither blank nor comment
	bool entry = false;    // that before it ended an entry
	for (std::size_t i = 0; i < out.size(); i++) {
		if (out.compare(i, 2, "/*") == 0) {
			i = std::min(out.find("*/", i + 2), out.size() - 1) + 1;
			continue;
		}
		if (out.compare(i, 2, "//") == 0) {
			i = std::min(out.find('\n', i), out.size());
			continue;
		}
		if (std::isspace(static_cast<unsigned char>(out[i])))
			continue;
		if ((out[i] == '}' || out[i] == ']') && out[last] == ',' && entry)
			out[last] = ' ';
		entry = !std::strchr("{[,:", out[last]);
		last = i;
		if (out[i] == '"')
			while (++i < out.size() && out[i] != '"')
				i += out[i] == '\\';
	}
	return out;
}

}  // namespace

JsonValue parse_json(std::string_view text, const std::string &name)
{
	std::string plain = without_last_commas(text);
	Builder builder(name);
	CountingIterator first{plain.data(), &builder.line}, last{plain.data() + plain.size(), &builder.line};
	nlohmann::json::sax_parse(first, last, &builder, nlohmann::json::input_format_t::json, true, true);
	return std::move(builder.root);
}

}  // namespace schedtuna::sim
