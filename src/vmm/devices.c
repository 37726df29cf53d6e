/* SPDX-License-Identifier: MIT */
#include "vmm/devices.h"

#include <string.h>

#include "vmm/virtio/9p.h"
#include "vmm/virtio/blk.h"
#include "vmm/virtio/console.h"
#include "vmm/virtio/net.h"
#include "vmm/virtio/rng.h"
#include "vmm/virtio/virtio.h"

struct plan {
	struct devices *d;
	struct platform *pf;
	const struct machine_config *cfg;
	struct chardev *console;
	struct vmm_err *err;
};

/*
 * Note a device that has been made; an error without a text gets one from @what.
 * @dev: where @r's function has put it, which may be called after the other arguments are evaluated.
 */
static int added(struct plan *p, int r, struct virtio_dev *const *dev, void (*destroy)(struct virtio_dev *),
		 const char *what)
{
	if (r)
		return vmm_fail(p->err, -r, "%s: cannot be made: %s", what, strerror(-r));
	p->d->list[p->d->count++] = (struct device){ *dev, destroy };
	return 0;
}

static int add_disks(struct plan *p)
{
	int r = 0;

	for (unsigned int i = 0; i < p->cfg->disk_count && !r; i++) {
		const struct machine_disk *d = &p->cfg->disks[i];
		struct virtio_blk_opts o = { .path = d->path, .read_only = d->read_only };
		struct virtio_dev *dev = NULL;

		r = added(p, virtio_blk_create(p->pf, &o, &dev, p->err), &dev, virtio_blk_destroy, o.path);
	}
	return r;
}

static int add_net(struct plan *p)
{
	struct virtio_net_opts o = { .fwd = p->cfg->forwards, .fwds = p->cfg->forward_count };
	struct virtio_dev *dev = NULL;

	if (!p->cfg->net)
		return 0;
	return added(p, virtio_net_create(p->pf, &o, &dev, p->err), &dev, virtio_net_destroy, "network");
}

static int add_shares(struct plan *p)
{
	int r = 0;

	for (unsigned int i = 0; i < p->cfg->share_count && !r; i++) {
		const struct machine_share *s = &p->cfg->shares[i];
		struct virtio_9p_opts o = { .path = s->dir, .tag = s->tag, .read_only = s->read_only };
		struct virtio_dev *dev = NULL;

		r = added(p, virtio_9p_create(p->pf, &o, &dev, p->err), &dev, virtio_9p_destroy, o.path);
	}
	return r;
}

static int add_console(struct plan *p)
{
	struct virtio_dev *dev = NULL;

	if (p->cfg->console != CONSOLE_VIRTIO)
		return 0;
	return added(p, virtio_console_create(p->pf, p->console, &dev), &dev, virtio_console_destroy,
		     "console");
}

static int add_rng(struct plan *p)
{
	struct virtio_dev *dev = NULL;

	return added(p, virtio_rng_create(p->pf, &dev), &dev, virtio_rng_destroy, "entropy source");
}

static int (*const steps[])(struct plan *p) = { add_disks, add_net, add_shares, add_console, add_rng };

int devices_create(struct devices *d, struct platform *pf, const struct machine_config *cfg,
		   struct chardev *console, struct vmm_err *err)
{
	struct plan p = { .d = d, .pf = pf, .cfg = cfg, .console = console, .err = err };
	int r = 0;

	d->count = 0;
	for (size_t i = 0; i < sizeof(steps) / sizeof(steps[0]) && !r; i++)
		r = steps[i](&p);
	if (r)
		devices_destroy(d);
	return r;
}

void devices_quit(struct devices *d)
{
	for (unsigned int i = 0; i < d->count; i++)
		virtio_quit(d->list[i].dev);
}

void devices_destroy(struct devices *d)
{
	while (d->count) {
		struct device *last = &d->list[--d->count];

		last->destroy(last->dev);
	}
}
