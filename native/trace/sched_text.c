// SPDX-License-Identifier: Apache-2.0
// Lines of scheduler text in, events out: the lines that perf script, ftrace and trace-cmd usually print.
// src/schedtuna/trace/formats/sched_text.py calls this; lines of another shape it reads itself.
//
// A line is of the usual shape if every field is found right where the one before ended, and every `=` in
// it belongs to a field: what a task calls itself can't pass for a field.
#define _GNU_SOURCE
#include <stdint.h>
#include <string.h>

#include "trace_event.h"

enum { AT_END, AT_ODD_LINE };  // why schedtuna_read_text() returns

// _Text of sched_text.py.
struct text {
	const char *data;  // whole lines
	int64_t size;
	int64_t line_start;  // of an odd line
	int64_t line_end;    // of an odd line; where to go on
	const uint8_t *state_of_letter;
	const uint8_t *state_of_bit;  // of a number's lowest bit, counted from 1; of 0
	struct sched_event *events;   // room for one per 32 bytes of text
	int64_t nr_events;
	struct names *names;
};

struct span {
	const char *at;
	const char *end;
};

static int skip_literal(struct span *s, const char *literal, size_t size)
{
	if ((size_t)(s->end - s->at) < size || memcmp(s->at, literal, size) != 0)
		return 0;
	s->at += size;
	return 1;
}
#define SKIP(s, literal) skip_literal(s, literal, sizeof(literal) - 1)

static void skip_spaces(struct span *s)
{
	while (s->at < s->end && *s->at == ' ')
		s->at++;
}

static int is_digit(char c)
{
	return c >= '0' && c <= '9';
}

static int read_number(struct span *s, int max_digits, uint64_t *value)
{
	const char *start = s->at;
	uint64_t number = 0;
	while (s->at < s->end && is_digit(*s->at) && s->at - start <= max_digits)
		number = number * 10 + (uint64_t)(*s->at++ - '0');
	*value = number;
	return s->at > start && s->at - start <= max_digits;
}

static int read_tid(struct span *s, uint32_t *tid)
{
	uint64_t number;
	if (!read_number(s, 10, &number) || number >= TID_LIMIT)
		return 0;
	*tid = (uint32_t)number;
	return 1;
}

static int read_cpu(struct span *s, uint16_t *cpu)
{
	uint64_t number;
	if (!read_number(s, 5, &number) || number > UINT16_MAX)
		return 0;
	*cpu = (uint16_t)number;
	return 1;
}

static int read_prio(struct span *s, int16_t *prio)
{
	uint64_t number;
	int negative = SKIP(s, "-");
	if (!read_number(s, 5, &number))
		return 0;
	int64_t value = negative ? -(int64_t)number : (int64_t)number;
	*prio = (int16_t)(value > INT16_MAX ? INT16_MAX : value < INT16_MIN ? INT16_MIN : value);
	return 1;
}

// Read a name: up to the next `=`, which must be that of the field that follows.
static int read_name(struct span *s, const char *next_field, size_t size, struct span *name)
{
	const char *equals = memchr(s->at, '=', (size_t)(s->end - s->at));
	if (!equals || (size_t)(equals - s->at) < size - 1 || memcmp(equals + 1 - size, next_field, size) != 0)
		return 0;
	*name = (struct span){s->at, equals + 1 - size};
	s->at = equals + 1;
	return 1;
}
#define NAME(s, next_field, name) read_name(s, next_field, sizeof(next_field) - 1, name)

// Read a prev_state that is a number: `_state_of_number()` of sched_line.py, which has those that mean two things.
static int read_state_number(struct text *t, struct span *s, uint8_t *prev_state)
{
	uint64_t number = 0;
	if (SKIP(s, "0x")) {
		const char *start = s->at;
		for (; s->at < s->end && s->at - start < 8; s->at++) {
			char c = *s->at;
			if (is_digit(c))
				number = number << 4 | (uint64_t)(c - '0');
			else if (c >= 'a' && c <= 'f')
				number = number << 4 | (uint64_t)(c - 'a' + 10);
			else
				break;
		}
		if (s->at == start)
			return 0;
	} else if (!read_number(s, 9, &number)) {
		return 0;
	}
	if (number > 0xff && number & 0xff)
		return 0;
	*prev_state = number > 0xff ? PREV_PREEMPTED : t->state_of_bit[number ? __builtin_ctzll(number) + 1 : 0];
	return *prev_state != NO_STATE;
}

// Read a prev_state: letters with `|` between them, `+` behind them if the task was preempted, or a number.
static int read_state(struct text *t, struct span *s, uint8_t *prev_state)
{
	if (s->end - s->at > 1 && s->at[1] == ' ' && !is_digit(*s->at)) {
		*prev_state = t->state_of_letter[(uint8_t)*s->at++];
		return *prev_state != NO_STATE;
	}
	if (s->at < s->end && is_digit(*s->at))
		return read_state_number(t, s, prev_state);
	for (int first = 1; first || SKIP(s, "|"); first = 0) {
		if (s->at == s->end)
			return 0;
		uint8_t state = t->state_of_letter[(uint8_t)*s->at++];
		if (state == NO_STATE)
			return 0;
		if (first)
			*prev_state = state;
	}
	if (SKIP(s, "+"))
		*prev_state = PREV_PREEMPTED;
	return 1;
}

// Whether what is left are fields of which we know nothing: ` name=value` again and again. They follow a number,
// so no name of a task can pass for one.
static int are_other_fields(struct span *s)
{
	while (SKIP(s, " ")) {
		const char *start = s->at;
		while (s->at < s->end && ((*s->at >= 'a' && *s->at <= 'z') || *s->at == '_'))
			s->at++;
		if (s->at == start || !SKIP(s, "="))
			return 0;
		start = s->at;
		while (s->at < s->end && *s->at != ' ' && *s->at != '=')
			s->at++;
		if (s->at == start)
			return 0;
	}
	return s->at == s->end;
}

static int read_switch(struct text *t, struct span *s, struct sched_event *e)
{
	struct span prev, next;
	if (!SKIP(s, "prev_comm=") || !NAME(s, " prev_pid=", &prev) || !read_tid(s, &e->tid) || !SKIP(s, " prev_prio=")
	    || !read_prio(s, &e->prio) || !SKIP(s, " prev_state=") || !read_state(t, s, &e->prev_state))
		return 0;
	(void)SKIP(s, " ==>");
	if (!SKIP(s, " next_comm=") || !NAME(s, " next_pid=", &next) || !read_tid(s, &e->other_tid)
	    || !SKIP(s, " next_prio=") || !read_prio(s, &e->other_prio) || !are_other_fields(s))
		return 0;
	note_name(t->names, e->tid, e->timestamp_ns, prev.at, prev.end - prev.at);
	note_name(t->names, e->other_tid, e->timestamp_ns, next.at, next.end - next.at);
	return 1;
}

static int read_of_one_task(struct text *t, struct span *s, struct sched_event *e)
{
	struct span name;
	if (!SKIP(s, "comm=") || !NAME(s, " pid=", &name) || !read_tid(s, &e->tid) || !SKIP(s, " prio=")
	    || !read_prio(s, &e->prio))
		return 0;
	if (e->type == EVENT_MIGRATE) {
		if (!SKIP(s, " orig_cpu=") || !read_cpu(s, &e->orig_cpu) || !SKIP(s, " dest_cpu=")
		    || !read_cpu(s, &e->target_cpu))
			return 0;
	} else if (e->type == EVENT_EXIT) {
		e->other_tid = 0;
	} else {
		if (SKIP(s, " success=") && (s->at == s->end || !is_digit(*s->at++)))
			return 0;
		if (!SKIP(s, " target_cpu=") || !read_cpu(s, &e->target_cpu))
			return 0;
	}
	if (!are_other_fields(s))
		return 0;
	note_name(t->names, e->tid, e->timestamp_ns, name.at, name.end - name.at);
	return 1;
}

static int read_fork(struct text *t, struct span *s, struct sched_event *e)
{
	struct span parent, child;
	if (!SKIP(s, "comm=") || !NAME(s, " pid=", &parent) || !read_tid(s, &e->other_tid) || !SKIP(s, " child_comm=")
	    || !NAME(s, " child_pid=", &child) || !read_tid(s, &e->tid) || !are_other_fields(s))
		return 0;
	note_name(t->names, e->tid, e->timestamp_ns, child.at, child.end - child.at);
	note_name(t->names, e->other_tid, e->timestamp_ns, parent.at, parent.end - parent.at);
	return 1;
}

static int read_exec(struct span *s, struct sched_event *e)
{
	struct span filename;
	return SKIP(s, "filename=") && NAME(s, " pid=", &filename) && read_tid(s, &e->tid) && SKIP(s, " old_pid=")
	       && read_tid(s, &e->other_tid) && are_other_fields(s);
}

// The event of which `sched_` and what is next are the name, with what follows the name; 0: none that we keep,
// or one with another thing behind its name.
static uint8_t event_type(struct span *s)
{
	if (SKIP(s, "switch: "))
		return EVENT_SWITCH;
	if (SKIP(s, "waking: "))
		return EVENT_WAKING;
	if (SKIP(s, "wakeup: "))
		return EVENT_WAKEUP;
	if (SKIP(s, "wakeup_new: "))
		return EVENT_WAKEUP_NEW;
	if (SKIP(s, "migrate_task: "))
		return EVENT_MIGRATE;
	if (SKIP(s, "process_fork: "))
		return EVENT_FORK;
	if (SKIP(s, "process_exec: "))
		return EVENT_EXEC;
	if (SKIP(s, "process_exit: "))
		return EVENT_EXIT;
	return 0;
}

// Whether the name of another event is next, as such lines have it.
static int is_other_event(struct span s)
{
	while (s.at < s.end && ((*s.at >= 'a' && *s.at <= 'z') || *s.at == '_'))
		s.at++;
	return SKIP(&s, ": ");
}

// Read the number that ends before `*at`, and go before it; how many digits it has.
static int read_back(const char *start, const char **at, int max_digits, uint64_t *value)
{
	uint64_t number = 0, scale = 1;
	int nr_digits = 0;
	while (*at > start && is_digit((*at)[-1]) && nr_digits <= max_digits) {
		number += (uint64_t)(*--*at - '0') * scale;
		scale *= 10;
		nr_digits++;
	}
	*value = number;
	return nr_digits <= max_digits ? nr_digits : 0;
}

static int back_over_spaces(const char *start, const char **at)
{
	const char *before = *at;
	while (*at > start && (*at)[-1] == ' ')
		--*at;
	return *at < before;
}

static int back_over(const char *start, const char **at, char c)
{
	if (*at == start || (*at)[-1] != c)
		return 0;
	--*at;
	return 1;
}

// Read `comm tid [cpu] flags seconds.fraction`, where tid may be tgid/tid, and flags be missing, from its
// end to its beginning: only there is it clear where the name ends.
static int read_header(struct text *t, const char *start, const char *colon, struct sched_event *e)
{
	const char *at = colon;
	uint64_t fraction, seconds, cpu, tid, tgid = 0;
	int nr_digits = read_back(start, &at, 9, &fraction);
	if (!nr_digits || !back_over(start, &at, '.') || !read_back(start, &at, 10, &seconds)
	    || !back_over_spaces(start, &at))
		return 0;
	for (; nr_digits < 9; nr_digits++)
		fraction *= 10;
	if (at > start && at[-1] != ']') {
		const char *flags_end = at;
		while (at > start && at[-1] != ' ' && flags_end - at < 9)
			at--;
		if (flags_end - at < 3 || flags_end - at > 8 || is_digit(*at) || !back_over_spaces(start, &at))
			return 0;
	}
	if (!back_over(start, &at, ']') || !read_back(start, &at, 5, &cpu) || !back_over(start, &at, '[')
	    || cpu > UINT16_MAX || !back_over_spaces(start, &at) || !read_back(start, &at, 7, &tid) || at == start)
		return 0;
	if (at[-1] == '/') {
		at--;
		if (!read_back(start, &at, 7, &tgid) || at == start)
			return 0;
	}
	if (at[-1] != ' ' && at[-1] != '-')
		return 0;
	if (at[-1] == '-' && (at - 1 == start || at[-2] == ' ' || at[-2] == '/'))
		return 0;  // perhaps -1
	if (tid >= TID_LIMIT || tgid >= TID_LIMIT)
		return 0;
	e->timestamp_ns = seconds * 1000000000 + fraction;
	e->cpu = e->target_cpu = e->orig_cpu = (uint16_t)cpu;
	e->other_tid = (uint32_t)tid;
	if (tgid)
		t->names->of_tid[tid].tgid = (uint32_t)tgid;
	return 1;
}

// Find `: ` before `sched_`, with what perf may print between them; NULL: there is none.
static const char *find_event(const char *start, const char *end, struct span *name)
{
	const char *colon = start;
	while ((colon = memchr(colon, ':', (size_t)(end - colon)))) {
		struct span s = {colon + 1, end};
		if (SKIP(&s, " ")) {
			skip_spaces(&s);
			uint64_t period;
			struct span number = s;
			if (read_number(&number, 20, &period) && SKIP(&number, " ")) {
				skip_spaces(&number);
				s = number;
			}
			(void)SKIP(&s, "sched:");
			if (SKIP(&s, "sched_")) {
				*name = s;
				return colon;
			}
		}
		colon++;
	}
	return NULL;
}

#define HAS(start, size, word) (memmem(start, size, word, sizeof(word) - 1) != NULL)

// Whether a line that is not an event of the usual shape may be one of another, or tell of lost events, or of where a
// buffer begins (marks.py): a comment, or one of the words that tools use, whatever their case.
static int may_tell(const char *start, size_t size)
{
	return (size && *start == '#') || HAS(start, size, "sched_") || HAS(start, size, "LOST")
	       || HAS(start, size, "ost") || HAS(start, size, "DROP") || HAS(start, size, "drop")
	       || HAS(start, size, "verrun") || HAS(start, size, "iss");
}

// Read a line; whether it is of the usual shape, or of no interest.
static int read_line(struct text *t, const char *start, const char *end)
{
	while (end > start && (end[-1] == ' ' || end[-1] == '\r' || end[-1] == '\t'))
		end--;
	size_t size = (size_t)(end - start);
	struct span s;
	const char *colon = find_event(start, end, &s);
	if (!colon)
		return !may_tell(start, size);
	struct sched_event *e = &t->events[t->nr_events];
	memset(e, 0, sizeof(*e));
	if (!read_header(t, start, colon, e))
		return 0;
	e->type = event_type(&s);
	if (!e->type)
		return is_other_event(s);
	skip_spaces(&s);
	int fine = e->type == EVENT_SWITCH ? read_switch(t, &s, e)
		   : e->type == EVENT_FORK ? read_fork(t, &s, e)
		   : e->type == EVENT_EXEC ? read_exec(&s, e)
					   : read_of_one_task(t, &s, e);
	t->nr_events += fine;
	return fine;
}

// Read lines up to the end, or up to one that is of another shape and may be of interest.
PUBLIC int schedtuna_read_text(struct text *t)
{
	const char *end = t->data + t->size;
	for (const char *line = t->data + t->line_end; line < end;) {
		const char *newline = memchr(line, '\n', (size_t)(end - line));
		const char *line_end = newline ? newline : end;
		const char *next = newline ? newline + 1 : end;
		if (!read_line(t, line, line_end)) {
			t->line_start = line - t->data;
			t->line_end = next - t->data;
			return AT_ODD_LINE;
		}
		line = next;
	}
	t->line_end = t->size;
	return AT_END;
}
