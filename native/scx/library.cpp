/* SPDX-License-Identifier: Apache-2.0 */
#include "library.hpp"

#include "functions.hpp"
#include "map.hpp"
#include "sim/types.hpp"

#include <algorithm>
#include <dlfcn.h>

namespace schedtuna::scx
{

using sim::BadInput;

namespace
{

constexpr std::uint64_t DEFAULT_TIMEOUT_MS = 30'000;  // SCX_WATCHDOG_MAX_TIMEOUT

const scx_object &checked(const scx_object &object)
{
	if (object.abi != SCX_OBJECT_ABI || object.bytes != sizeof(scx_object))
		throw BadInput("the translated scheduler is of version " + std::to_string(object.abi)
			       + " and this simulator reads " + std::to_string(SCX_OBJECT_ABI) + ": translate it anew");
	return object;
}

void add(std::string &list, std::string_view name)
{
	if (list.find(name) != std::string::npos)
		return;
	list += (list.empty() ? "" : ", ") + std::string(name);
}

}  // namespace

std::shared_ptr<const Library> Library::open(const std::string &path, const Constants &constants)
{
	void *handle = dlopen(path.c_str(), RTLD_NOW | RTLD_LOCAL);
	if (!handle)
		throw BadInput("the translated scheduler can't be loaded: " + std::string(dlerror()));
	try {
		const void *object = dlsym(handle, "scx_object");
		if (!object)
			throw BadInput(path + " exports no scx_object: it is no translated scheduler");
		auto library = std::make_shared<Library>(*static_cast<const scx_object *>(object), constants);
		library->handle_ = handle;
		return library;
	} catch (...) {
		dlclose(handle);
		throw;
	}
}

Library::Library(const scx_object &object, const Constants &constants) : object_(checked(object)), constants_(constants)
{
	std::fill(std::begin(operations_), std::end(operations_), -1);
	for (std::uint32_t i = 0; i < object_.nr_members; i++) {
		const scx_member &row = object_.members[i];
		auto found = std::find(std::begin(OPERATION_NAMES), std::end(OPERATION_NAMES), row.name);
		if (row.function >= 0 && found != std::end(OPERATION_NAMES))
			operations_[found - std::begin(OPERATION_NAMES)] = row.function;
	}
	flags = member("flags");
	std::uint64_t timeout_ms = member("timeout_ms");
	timeout_ns = (timeout_ms ? timeout_ms : DEFAULT_TIMEOUT_MS) * 1'000'000;
	if (std::uint64_t batch = member("dispatch_max_batch"))
		max_batch = static_cast<std::uint32_t>(batch);
	resolve();
}

Library::~Library()
{
	if (handle_)
		dlclose(handle_);
}

std::uint64_t Library::member(std::string_view name) const
{
	for (std::uint32_t i = 0; i < object_.nr_members; i++)
		if (object_.members[i].function < 0 && object_.members[i].name == name)
			return object_.members[i].value;
	return 0;
}

const scx_global *Library::global(std::string_view name) const
{
	for (std::uint32_t i = 0; i < object_.nr_globals; i++)
		if (object_.globals[i].name == name)
			return &object_.globals[i];
	return nullptr;
}

std::vector<std::string> Library::never_called() const
{
	std::vector<std::string> names;
	for (std::uint32_t i = 0; i < object_.nr_members; i++) {
		const scx_member &row = object_.members[i];
		if (row.function >= 0
		    && std::find(std::begin(OPERATION_NAMES), std::end(OPERATION_NAMES), row.name)
			       == std::end(OPERATION_NAMES))
			names.push_back(row.name);
	}
	return names;
}

void Library::resolve()
{
	std::string functions, maps, symbols, missing;
	for (std::uint32_t i = 0; i < object_.nr_calls; i++) {
		scx_code code = find_function(object_.calls[i].name);
		if (code)
			object_.targets[i] = code;
		else if (object_.calls[i].required)
			add(functions, object_.calls[i].name);
	}
	for (std::uint32_t i = 0; i < object_.nr_maps; i++)
		if (object_.maps[i].required && !is_known_map(object_.maps[i].type))
			add(maps,
			    std::string(object_.maps[i].name) + " of type " + std::to_string(object_.maps[i].type));
	for (std::uint32_t i = 0; i < object_.nr_symbols; i++)
		if (object_.symbols[i].required && !is_known_symbol(object_.symbols[i].name))
			add(symbols, object_.symbols[i].name);
	if (!functions.empty())
		missing += "the functions " + functions;
	if (!maps.empty())
		missing += (missing.empty() ? "" : "; ") + std::string("the maps ") + maps;
	if (!symbols.empty())
		missing += (missing.empty() ? "" : "; ") + std::string("the kernel's variables ") + symbols;
	if (!missing.empty())
		throw BadInput(std::string(object_.name) + " needs what the simulated kernel lacks: " + missing);
}

}  // namespace schedtuna::scx
