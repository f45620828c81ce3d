/* SPDX-License-Identifier: Apache-2.0 */
// JSON as rt-app's files are written: with comments and with commas after the last entry, as json-c reads them.
// Every value knows its line, and the members of an object keep their order, which is that of a task's events.
#pragma once

#include "types.hpp"

#include <string_view>
#include <utility>

namespace schedtuna::sim
{

struct JsonValue {
	enum class Kind : std::uint8_t { Null, Boolean, Integer, Real, String, Array, Object };

	Kind kind = Kind::Null;
	unsigned line = 0;					 // from 1: of its key, or of its first character
	std::int64_t integer = 0;				 // Integer, Boolean
	std::string text;					 // String
	std::vector<std::pair<std::string, JsonValue>> members;	 // Object; of an Array without keys

	const JsonValue *find(std::string_view key) const
	{
		for (const auto &[name, value] : members)
			if (name == key)
				return &value;
		return nullptr;
	}
};

// Raises BadInput ("NAME:LINE: ...") for what is no JSON, for a key that stands twice in an object (json-c keeps the
// last of them and says nothing), for numbers beyond 64 bits and for what is nested deeper than 16.
JsonValue parse_json(std::string_view text, const std::string &name);

}  // namespace schedtuna::sim
