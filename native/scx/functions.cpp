/* SPDX-License-Identifier: Apache-2.0 */
#include "functions.hpp"

#include <unordered_map>

namespace schedtuna::scx
{

scx_code find_function(std::string_view name)
{
	static const auto all = [] {
		std::unordered_map<std::string_view, scx_code> rows;
		for (auto table : {dsq_functions(), scx_functions(), bpf_functions(), cpumask_functions(), helpers()})
			for (const FunctionRow &row : table)
				rows.emplace(row.name, row.code);
		return rows;
	}();
	auto found = all.find(name);
	return found == all.end() ? nullptr : found->second;
}

}  // namespace schedtuna::scx
