/* SPDX-License-Identifier: Apache-2.0 */
// A value in a file of rt-app's, with its path and line for errors.
#pragma once

#include "json.hpp"
#include "rt_app.hpp"
#include "workload.hpp"

#include <initializer_list>
#include <optional>

namespace schedtuna::sim::rt_app
{

struct Source {
	const std::string &name;
	Dialect dialect;
};

class Field
{
      public:
	Field(const Source &source, const JsonValue &value, std::string key, std::string path)
	    : source_(&source), value_(&value), key_(std::move(key)), path_(std::move(path))
	{
	}
	[[noreturn]] void fail(const std::string &what) const;
	// rt-app 1.0 doesn't know it.
	void extension(const char *what) const;

	const std::string &key() const
	{
		return key_;
	}
	std::int64_t integer(std::int64_t lowest, std::int64_t highest, const char *unit = "") const;
	const std::string &string() const;
	bool boolean() const;
	// How long something takes: microseconds, or {"exponential": ...} and so on.
	Amount amount() const;

	std::vector<Field> members() const;   // of an object
	std::vector<Field> elements() const;  // of an array
	std::optional<Field> find(std::string_view key) const;
	Field required(std::string_view key) const;
	void allow(std::initializer_list<std::string_view> keys) const;	 // no other members
	bool is(JsonValue::Kind kind) const
	{
		return value_->kind == kind;
	}

      private:
	const Source *source_;
	const JsonValue *value_;
	std::string key_, path_;

	std::int64_t part(const char *key, std::int64_t lowest, std::int64_t highest, const char *unit) const;
};

}  // namespace schedtuna::sim::rt_app
