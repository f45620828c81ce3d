/* SPDX-License-Identifier: Apache-2.0 */
#include "format.hpp"

#include <cstdio>

namespace schedtuna::scx
{

namespace
{

// One conversion, without its length: %5d, %x, %c.
std::string converted(std::string flags, char how, bool is_wide, std::uint64_t value)
{
	char text[128];
	if (how == 'd' || how == 'i') {
		auto shown = is_wide ? static_cast<long long>(value) : static_cast<int>(value);
		std::snprintf(text, sizeof(text), (flags + "lld").c_str(), shown);
	} else if (how == 'c') {
		std::snprintf(text, sizeof(text), "%c", static_cast<char>(value));
	} else {
		unsigned long long shown = is_wide ? value : static_cast<std::uint32_t>(value);
		std::snprintf(text, sizeof(text), (flags + "ll" + how).c_str(), shown);
	}
	return text;
}

}  // namespace

std::string formatted(Core &core, std::uint64_t format, std::uint64_t arguments, std::uint32_t size)
{
	std::string given = core.text(format), text;
	std::uint32_t next = 0;
	auto argument = [&] {
		std::uint64_t value = next + 8 <= size ? core.at<std::uint64_t>(arguments + next) : 0;
		next += 8;
		return value;
	};
	for (std::size_t i = 0; i < given.size(); i++) {
		if (given[i] != '%') {
			text += given[i];
			continue;
		}
		std::string flags = "%";
		while (++i < given.size() && std::string_view("-+ #0123456789").find(given[i]) != std::string_view::npos
		       && flags.size() < 8)
			flags += given[i];
		bool is_wide = false;
		for (; i < given.size() && given[i] == 'l'; i++)
			is_wide = true;
		char how = i < given.size() ? given[i] : '%';
		if (how == '%') {
			text += '%';
		} else if (how == 's') {
			text += core.text(argument(), 256);
		} else if (how == 'p') {
			text += converted("%#", 'x', true, argument());
			while (i + 1 < given.size() && std::isalpha(static_cast<unsigned char>(given[i + 1])))
				i++;
		} else if (std::string_view("diuxXc").find(how) != std::string_view::npos) {
			text += converted(flags, how, is_wide, argument());
		}
	}
	return text;
}

}  // namespace schedtuna::scx
