/* SPDX-License-Identifier: Apache-2.0 */
#include "rt_app_field.hpp"

#include <algorithm>

namespace schedtuna::sim::rt_app
{
namespace
{

constexpr std::int64_t MAX_US = std::numeric_limits<std::int32_t>::max();  // rt-app's times are C's int
constexpr std::int64_t MAX_SIGMA_PERMILLE = 5'000;
constexpr std::int64_t MIN_TAIL_PERMILLE = 100, MAX_TAIL_PERMILLE = 1'000'000;
constexpr std::int64_t MAX_STAGES = 1'000;
constexpr Ns NS_PER_US = 1'000;

const char *kind_name(JsonValue::Kind kind)
{
	switch (kind) {
	case JsonValue::Kind::Null:
		return "null";
	case JsonValue::Kind::Boolean:
		return "true or false";
	case JsonValue::Kind::Integer:
		return "a whole number";
	case JsonValue::Kind::Real:
		return "a number with a fraction or exponent";
	case JsonValue::Kind::String:
		return "a string";
	case JsonValue::Kind::Array:
		return "an array";
	case JsonValue::Kind::Object:
		return "an object";
	}
	return "";
}

void expect(const Field &field, const JsonValue &value, JsonValue::Kind kind)
{
	if (value.kind != kind)
		field.fail(std::string("must be ") + kind_name(kind) + ", not " + kind_name(value.kind));
}

}  // namespace

void Field::fail(const std::string &what) const
{
	throw BadInput(source_->name + ":" + std::to_string(value_->line) + ": " + (path_.empty() ? "" : path_ + ": ")
		       + what);
}

void Field::extension(const char *what) const
{
	if (source_->dialect == Dialect::RtApp)
		fail(std::string("rt-app 1.0 has no ") + what);
}

std::int64_t Field::integer(std::int64_t lowest, std::int64_t highest, const char *unit) const
{
	expect(*this, *value_, JsonValue::Kind::Integer);
	if (value_->integer < lowest || value_->integer > highest)
		fail("must be " + std::to_string(lowest) + " to " + std::to_string(highest) + unit + ", not "
		     + std::to_string(value_->integer));
	return value_->integer;
}

const std::string &Field::string() const
{
	expect(*this, *value_, JsonValue::Kind::String);
	return value_->text;
}

bool Field::boolean() const
{
	expect(*this, *value_, JsonValue::Kind::Boolean);
	return value_->integer;
}

std::vector<Field> Field::members() const
{
	expect(*this, *value_, JsonValue::Kind::Object);
	std::vector<Field> fields;
	for (const auto &[key, value] : value_->members)
		fields.emplace_back(*source_, value, key, path_.empty() ? key : path_ + "." + key);
	return fields;
}

std::vector<Field> Field::elements() const
{
	expect(*this, *value_, JsonValue::Kind::Array);
	std::vector<Field> fields;
	for (std::size_t i = 0; i < value_->members.size(); i++)
		fields.emplace_back(*source_, value_->members[i].second, "", path_ + "[" + std::to_string(i) + "]");
	return fields;
}

std::optional<Field> Field::find(std::string_view key) const
{
	expect(*this, *value_, JsonValue::Kind::Object);
	const JsonValue *value = value_->find(key);
	if (!value)
		return std::nullopt;
	std::string name(key);
	return Field(*source_, *value, name, path_.empty() ? name : path_ + "." + name);
}

Field Field::required(std::string_view key) const
{
	std::optional<Field> field = find(key);
	if (!field)
		fail("has no \"" + std::string(key) + "\"");
	return *field;
}

void Field::allow(std::initializer_list<std::string_view> keys) const
{
	for (const Field &member : members()) {
		if (std::find(keys.begin(), keys.end(), member.key()) != keys.end())
			continue;
		std::string known;
		for (std::string_view key : keys)
			known += (known.empty() ? "" : ", ") + std::string(key);
		member.fail("unknown key; known here: " + known);
	}
}

std::int64_t Field::part(const char *key, std::int64_t lowest, std::int64_t highest, const char *unit) const
{
	return required(key).integer(lowest, highest, unit);
}

Amount Field::amount() const
{
	constexpr const char *US = " microseconds";
	if (value_->kind == JsonValue::Kind::Integer)
		return {Shape::Fixed, integer(1, MAX_US, US) * NS_PER_US, 0, 0};
	if (value_->kind != JsonValue::Kind::Object)
		fail(std::string("must be a whole number of microseconds or a distribution, not ")
		     + kind_name(value_->kind));
	extension("distributions");
	if (value_->members.size() != 1)
		fail("must have one member, the distribution's name");
	const Field shape = members().front();
	auto us = [&](const char *key) { return shape.part(key, 1, MAX_US, US) * NS_PER_US; };
	if (shape.key() == "exponential")
		return {Shape::Exponential, shape.integer(1, MAX_US, US) * NS_PER_US, 0, 0};
	if (shape.key() == "uniform") {
		shape.allow({"from", "to"});
		Ns from = us("from"), to = us("to");
		if (to < from)
			shape.fail("\"to\" is less than \"from\"");
		return {Shape::Uniform, from, to, 0};
	}
	if (shape.key() == "erlang") {
		shape.allow({"mean", "stages"});
		return {Shape::Erlang, us("mean"), shape.part("stages", 1, MAX_STAGES, ""), 0};
	}
	if (shape.key() == "lognormal") {
		shape.allow({"median", "sigma_permille"});
		return {Shape::Lognormal, us("median"), shape.part("sigma_permille", 0, MAX_SIGMA_PERMILLE, ""), 0};
	}
	if (shape.key() == "pareto") {
		shape.allow({"smallest", "tail_permille", "largest"});
		Ns smallest = us("smallest"), largest = us("largest");
		if (largest < smallest)
			shape.fail("\"largest\" is less than \"smallest\"");
		return {Shape::Pareto, smallest, shape.part("tail_permille", MIN_TAIL_PERMILLE, MAX_TAIL_PERMILLE, ""),
			largest};
	}
	if (shape.key() == "hyper") {
		shape.allow({"mean", "other_mean", "other_permille"});
		return {Shape::Hyper, us("mean"), us("other_mean"), shape.part("other_permille", 0, 1'000, "")};
	}
	shape.fail("unknown distribution; known: exponential, uniform, erlang, lognormal, pareto, hyper");
}

}  // namespace schedtuna::sim::rt_app
