/* SPDX-License-Identifier: Apache-2.0 */
// What translated programs call, by name: the kernel's functions and BPF's helpers, one row each.
#pragma once

#include "scx_object.h"

#include <span>
#include <string_view>

namespace schedtuna::scx
{

struct FunctionRow {
	std::string_view name;
	scx_code code;
};

// The tables, each in its own file.
std::span<const FunctionRow> dsq_functions();	   // scx_bpf_*: dispatch queues
std::span<const FunctionRow> scx_functions();	   // scx_bpf_*: all else
std::span<const FunctionRow> bpf_functions();	   // the other kernel functions
std::span<const FunctionRow> cpumask_functions();  // bpf_cpumask_*
std::span<const FunctionRow> helpers();		   // BPF's helpers

scx_code find_function(std::string_view name);	// nullptr: there is none
bool is_known_symbol(std::string_view name);	// a variable of the kernel

}  // namespace schedtuna::scx
