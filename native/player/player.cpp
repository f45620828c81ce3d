/* SPDX-License-Identifier: Apache-2.0 */
// Plays a file of rt-app's for real, each task a thread, with the amounts that the simulator draws for the same seed.
// Usage: schedtuna-player FILE [--seed N] [--rt-app]. The result is JSON. Status: 0 played, 1 failed, 2 a wrong file.
#include "sim/rt_app.hpp"
#include "stage.hpp"

#include <cstdio>
#include <cstdlib>
#include <cstring>
#include <fstream>
#include <iterator>
#include <unistd.h>

using namespace schedtuna;

namespace
{

struct Options {
	const char *file = nullptr;
	std::uint64_t seed = 1;
	sim::Dialect dialect = sim::Dialect::Extended;
};

[[noreturn]] void refuse(const std::string &what)
{
	std::fputs(("schedtuna-player: " + what + "\n").c_str(), stderr);
	std::exit(2);
}

Options parse_options(int argc, char **argv)
{
	Options options;
	for (int i = 1; i < argc; i++) {
		if (!std::strcmp(argv[i], "--rt-app")) {
			options.dialect = sim::Dialect::RtApp;
		} else if (!std::strcmp(argv[i], "--seed") && i + 1 < argc) {
			char *end;
			errno = 0;
			options.seed = std::strtoull(argv[++i], &end, 10);
			if (*end || errno || argv[i][0] < '0' || argv[i][0] > '9')
				refuse(std::string("--seed must be a number from 0 to 2^64 - 1, not ") + argv[i]);
		} else if (argv[i][0] != '-' && !options.file) {
			options.file = argv[i];
		} else {
			options.file = nullptr;
			break;
		}
	}
	if (!options.file)
		refuse("usage: schedtuna-player FILE [--seed N] [--rt-app]");
	return options;
}

sim::Workload read(const Options &options)
{
	std::ifstream file(options.file, std::ios::binary);
	std::string text(std::istreambuf_iterator<char>(file), {});
	if (!file)
		refuse(std::string(options.file) + " can't be read");
	sim::Workload workload = sim::parse_rt_app(text, options.file, options.dialect);
	if (workload.groups.size() > 1)
		refuse(std::string(options.file)
		       + ": taskgroups are simulated, but not played: leave them out, or play one file in each group");
	return workload;
}

}  // namespace

int main(int argc, char **argv)
{
	Options options = parse_options(argc, argv);
	try {
		sim::Workload workload = read(options);
		player::Stage stage(workload, options.seed);
		std::fputs(stage.play().c_str(), stdout);
		std::fflush(stdout);
		_exit(std::ferror(stdout) ? 1 : 0);  // threads that go on are to touch nothing that is torn down
	} catch (const sim::BadInput &error) {
		refuse(error.what());
	}
}
