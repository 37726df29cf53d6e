/* SPDX-License-Identifier: MIT */
#include "vmm/virtio/p9_wire.h"

#include <errno.h>
#include <stdarg.h>
#include <string.h>

/* Bytes of a number's letter; 0 for the others. */
static size_t width(char c)
{
	switch (c) {
	case 'b':
		return 1;
	case 'h':
		return 2;
	case 'd':
		return 4;
	case 'q':
		return 8;
	default:
		return 0;
	}
}

static int take(struct p9_in *in, void *to, size_t len)
{
	if ((size_t)(in->end - in->p) < len)
		return -EINVAL;
	memcpy(to, in->p, len);
	in->p += len;
	return 0;
}

static int take_str(struct p9_in *in, struct p9_str *s)
{
	if (take(in, &s->len, 2) || in->end - in->p < s->len)
		return -EINVAL;
	s->p = (const char *)in->p;
	in->p += s->len;
	return 0;
}

int p9_get(struct p9_in *in, const char *fmt, ...)
{
	int err = 0;
	va_list ap;

	va_start(ap, fmt);
	for (; *fmt && !err; fmt++) {
		void *to = va_arg(ap, void *);

		/* The host is little endian too, as every x86 is. */
		err = *fmt == 's' ? take_str(in, to) : take(in, to, width(*fmt));
	}
	va_end(ap);
	return err;
}

static bool add(struct p9_out *out, const void *from, size_t len)
{
	if ((size_t)(out->end - out->p) < len)
		return false;
	memcpy(out->p, from, len);
	out->p += len;
	return true;
}

static bool add_one(struct p9_out *out, char c, va_list *ap)
{
	const struct p9_qid *qid;
	const struct p9_str *s;
	uint64_t v;

	switch (c) {
	case 's':
		s = va_arg(*ap, const struct p9_str *);
		return add(out, &s->len, 2) && add(out, s->p, s->len);
	case 'Q':
		qid = va_arg(*ap, const struct p9_qid *);
		return add(out, &qid->type, 1) && add(out, &qid->version, 4) && add(out, &qid->path, 8);
	case 'q':
		v = va_arg(*ap, uint64_t);
		return add(out, &v, 8);
	default:
		v = va_arg(*ap, unsigned int);
		return add(out, &v, width(c));
	}
}

int p9_put(struct p9_out *out, const char *fmt, ...)
{
	uint8_t *start = out->p;
	bool ok = true;
	va_list ap;

	va_start(ap, fmt);
	for (; *fmt && ok; fmt++)
		ok = add_one(out, *fmt, &ap);
	va_end(ap);
	if (ok)
		return 0;
	out->p = start;
	return -EMSGSIZE;
}

bool p9_str_is(const struct p9_str *s, const char *text)
{
	return strlen(text) == s->len && !memcmp(s->p, text, s->len);
}
