/* SPDX-License-Identifier: MIT */
/* The network card: frames by hand, against libslirp and sockets on the loopback address. */
#include <arpa/inet.h>
#include <errno.h>
#include <linux/virtio_mmio.h>
#include <linux/virtio_net.h>
#include <setjmp.h>
#include <stdarg.h>
#include <stddef.h>
#include <stdlib.h>
#include <string.h>
#include <sys/socket.h>
#include <unistd.h>

#include <cmocka.h>

#include "rig.h"
#include "vmm/err.h"
#include "vmm/virtio/net.h"
#include "vmm/virtio/usernet.h"

#define HDR	   ((uint32_t)sizeof(struct virtio_net_hdr_v1))
#define RX_BUFS	   8u
#define RX_BUF	   2048u
#define GUEST_IP   0x0a00020fu /* 10.0.2.15 */
#define GATEWAY_IP 0x0a000202u

static const uint8_t guest_mac[6] = { 0x52, 0x54, 0x00, 0x12, 0x34, 0x56 };

struct bench {
	struct rig r;
	struct virtio_dev *net;
	uint64_t rx[RX_BUFS], tx;
	uint8_t gw_mac[6];
};

static void give_rx(struct bench *b, unsigned int i)
{
	rig_add(&b->r, 0, &(struct rig_seg){ b->rx[i], RX_BUF, true }, 1);
}

static void bench_start(struct bench *b)
{
	rig_start(&b->r, ~0ull, 2, RX_BUFS);
	b->tx = rig_alloc(&b->r, 4096, 16);
	for (unsigned int i = 0; i < RX_BUFS; i++) {
		b->rx[i] = rig_alloc(&b->r, RX_BUF, 16);
		give_rx(b, i);
	}
	rig_kick(&b->r, 0);
}

static struct bench *bench_new(const struct usernet_fwd *fwd, unsigned int fwds)
{
	const struct virtio_net_opts o = { .fwd = fwd, .fwds = fwds };
	struct bench *b = calloc(1, sizeof(*b));
	struct vmm_err e = { 0 };

	rig_init(&b->r);
	assert_int_equal(virtio_net_create(&b->r.p, &o, &b->net, &e), 0);
	bench_start(b);
	return b;
}

static void bench_free(struct bench *b)
{
	virtio_net_destroy(b->net);
	rig_fini(&b->r);
	free(b);
}

static void put16(uint8_t *p, unsigned int v)
{
	p[0] = (uint8_t)(v >> 8);
	p[1] = (uint8_t)v;
}

static void put32(uint8_t *p, uint32_t v)
{
	put16(p, v >> 16);
	put16(p + 2, v & 0xffff);
}

static unsigned int get16(const uint8_t *p)
{
	return p[0] << 8 | p[1];
}

static uint32_t sum16(const uint8_t *p, size_t len, uint32_t sum)
{
	for (size_t i = 0; i < len; i += 2)
		sum += p[i] << 8 | (i + 1 < len ? p[i + 1] : 0);
	while (sum >> 16)
		sum = (sum & 0xffff) + (sum >> 16);
	return sum;
}

static void send_frame(struct bench *b, const uint8_t *frame, uint32_t len,
		       const struct virtio_net_hdr_v1 *hdr)
{
	memcpy(rig_ptr(&b->r, b->tx), hdr, HDR);
	memcpy(rig_ptr(&b->r, b->tx + HDR), frame, len);
	rig_do(&b->r, 1, (struct rig_seg[]){ { b->tx, HDR, false }, { b->tx + HDR, len, false } }, 2);
}

/* The next frame for the guest that @want accepts; the buffer goes back to the card. */
static uint32_t recv_frame(struct bench *b, uint8_t *frame, bool (*want)(const uint8_t *f, uint32_t len))
{
	for (;;) {
		const struct virtio_net_hdr_v1 *hdr;
		uint32_t id, len;

		assert_true(rig_used(&b->r, 0, &id, &len));
		assert_in_range(len, HDR + 14, RX_BUF);
		hdr = rig_ptr(&b->r, b->rx[id]);
		assert_int_equal(hdr->num_buffers, 1);
		len -= HDR;
		memcpy(frame, rig_ptr(&b->r, b->rx[id] + HDR), len);
		give_rx(b, id);
		rig_kick(&b->r, 0);
		if (want(frame, len))
			return len;
	}
}

static bool is_arp_reply(const uint8_t *f, uint32_t len)
{
	return get16(f + 12) == 0x0806 && get16(f + 20) == 2;
}

static void learn_gateway(struct bench *b)
{
	static const struct virtio_net_hdr_v1 plain;
	uint8_t f[2048] = { 0xff, 0xff, 0xff, 0xff, 0xff, 0xff };

	memcpy(f + 6, guest_mac, 6);
	put16(f + 12, 0x0806);
	memcpy(f + 14, (const uint8_t[]){ 0, 1, 8, 0, 6, 4, 0, 1 }, 8);
	memcpy(f + 22, guest_mac, 6);
	put32(f + 28, GUEST_IP);
	put32(f + 38, GATEWAY_IP);
	send_frame(b, f, 42, &plain);
	recv_frame(b, f, is_arp_reply);
	memcpy(b->gw_mac, f + 22, 6);
}

/* An IPv4 and UDP header around @data; the UDP checksum is left to the card. */
static uint32_t udp_frame(struct bench *b, uint8_t *f, uint32_t src, uint32_t dst, unsigned int sport,
			  unsigned int dport, const void *data, uint32_t len)
{
	uint8_t pseudo[12] = { [9] = 17 };

	memset(f, 0, 42);
	memcpy(f, b->gw_mac, 6);
	memcpy(f + 6, guest_mac, 6);
	put16(f + 12, 0x0800);
	f[14] = 0x45;
	put16(f + 16, 28 + len);
	f[22] = 64;
	f[23] = 17;
	put32(f + 26, src);
	put32(f + 30, dst);
	put16(f + 24, ~sum16(f + 14, 20, 0) & 0xffff);
	put16(f + 34, sport);
	put16(f + 36, dport);
	put16(f + 38, 8 + len);
	memcpy(f + 42, data, len);
	memcpy(pseudo, f + 26, 8);
	put16(pseudo + 10, 8 + len);
	put16(f + 40, sum16(pseudo, 12, 0));
	return 42 + len;
}

static const struct virtio_net_hdr_v1 udp_hdr = {
	.flags = VIRTIO_NET_HDR_F_NEEDS_CSUM, .csum_start = 34, .csum_offset = 6,
};

static bool is_dhcp_offer(const uint8_t *f, uint32_t len)
{
	return get16(f + 12) == 0x0800 && f[23] == 17 && get16(f + 36) == 68 && f[42] == 2;
}

static void test_config(void **state)
{
	struct bench *b = bench_new(NULL, 0);

	assert_int_equal(rig_read(&b->r, VIRTIO_MMIO_CONFIG), 0x12005452);
	assert_int_equal(rig_read(&b->r, VIRTIO_MMIO_CONFIG + 4), VIRTIO_NET_S_LINK_UP << 16 | 0x5634);
	bench_free(b);
}

static void test_dhcp(void **state)
{
	struct bench *b = bench_new(NULL, 0);
	uint8_t dhcp[300] = { 1, 1, 6, 0, 0x12, 0x34, 0x56, 0x78 }, f[2048];

	memset(b->gw_mac, 0xff, 6);
	memcpy(dhcp + 28, guest_mac, 6);
	memcpy(dhcp + 236, (const uint8_t[]){ 0x63, 0x82, 0x53, 0x63, 53, 1, 1, 255 }, 8);
	send_frame(b, f, udp_frame(b, f, 0, 0xffffffff, 68, 67, dhcp, sizeof(dhcp)), &udp_hdr);
	recv_frame(b, f, is_dhcp_offer);
	assert_memory_equal(f + 42 + 16, ((const uint8_t[]){ 10, 0, 2, 15 }), 4);
	bench_free(b);
}

static bool is_udp_7000(const uint8_t *f, uint32_t len)
{
	return get16(f + 12) == 0x0800 && f[23] == 17 && get16(f + 36) == 7000;
}

static int loopback_socket(int type, struct sockaddr_in *a)
{
	socklen_t len = sizeof(*a);
	int fd = socket(AF_INET, type | SOCK_CLOEXEC, 0);

	assert_true(fd >= 0);
	*a = (struct sockaddr_in){ .sin_family = AF_INET, .sin_addr.s_addr = htonl(INADDR_LOOPBACK) };
	assert_int_equal(bind(fd, (struct sockaddr *)a, len), 0);
	assert_int_equal(getsockname(fd, (struct sockaddr *)a, &len), 0);
	return fd;
}

/* Out to a socket of the host and back, with checksums made by the card and more frames than buffers. */
static void test_udp_echo(void **state)
{
	struct bench *b = bench_new(NULL, 0);
	struct sockaddr_in a, from;
	struct timeval tv = { .tv_sec = 5 };
	int fd = loopback_socket(SOCK_DGRAM, &a);
	uint8_t f[2048], data[1001], got[2048];
	uint32_t len;

	setsockopt(fd, SOL_SOCKET, SO_RCVTIMEO, &tv, sizeof(tv));
	learn_gateway(b);
	for (unsigned int i = 0; i < 3 * RX_BUFS; i++) {
		socklen_t alen = sizeof(from);

		memset(data, (int)i, sizeof(data));
		len = udp_frame(b, f, GUEST_IP, GATEWAY_IP, 7000, ntohs(a.sin_port), data, sizeof(data));
		send_frame(b, f, len, &udp_hdr);
		assert_int_equal(recvfrom(fd, got, sizeof(got), 0, (struct sockaddr *)&from, &alen),
				 sizeof(data));
		assert_memory_equal(got, data, sizeof(data));
		assert_int_equal(sendto(fd, data, sizeof(data), 0, (struct sockaddr *)&from, alen),
				 sizeof(data));
		assert_int_equal(recv_frame(b, f, is_udp_7000), 42 + sizeof(data));
		assert_memory_equal(f + 42, data, sizeof(data));
	}
	close(fd);
	bench_free(b);
}

static bool is_syn_22(const uint8_t *f, uint32_t len)
{
	return get16(f + 12) == 0x0800 && f[23] == 6 && get16(f + 36) == 22 && f[47] == 2;
}

static void test_hostfwd(void **state)
{
	struct sockaddr_in a;
	int probe = loopback_socket(SOCK_STREAM, &a), fd;
	struct usernet_fwd fwd = { .host = a.sin_addr, .host_port = ntohs(a.sin_port), .guest_port = 22 };
	const struct virtio_net_opts o = { .fwd = &fwd, .fwds = 1 };
	struct virtio_dev *dev = NULL;
	struct vmm_err e = { 0 };
	uint8_t f[2048];
	struct bench *b;
	struct rig r;

	/* Taken: said so, and nothing is left behind. */
	assert_int_equal(listen(probe, 1), 0);
	rig_init(&r);
	assert_int_equal(virtio_net_create(&r.p, &o, &dev, &e), -EADDRINUSE);
	assert_non_null(strstr(e.msg, "cannot listen on tcp:127.0.0.1:"));
	assert_int_equal(r.p.bus.count[BUS_MMIO], 0);
	rig_fini(&r);
	close(probe);

	b = bench_new(&fwd, 1);
	learn_gateway(b);
	fd = socket(AF_INET, SOCK_STREAM | SOCK_NONBLOCK | SOCK_CLOEXEC, 0);
	assert_true(connect(fd, (struct sockaddr *)&a, sizeof(a)) == 0 || errno == EINPROGRESS);
	/* The network knows our address from the ARP request. */
	recv_frame(b, f, is_syn_22);
	assert_memory_equal(f, guest_mac, 6);
	close(fd);
	bench_free(b);
}

/* Frames that are too short or too long, checksums outside the frame, a chain without a header. */
static void test_hostile_frames(void **state)
{
	struct bench *b = bench_new(NULL, 0);
	struct virtio_net_hdr_v1 h = { .flags = VIRTIO_NET_HDR_F_NEEDS_CSUM };
	static const uint16_t at[] = { 0, 1, 13, 58, 59, 60, 61, 0x7fff, 0xffff };
	uint8_t f[2048] = { 0 };
	uint64_t big = rig_alloc(&b->r, 1 << 20, 4096);

	for (unsigned int i = 0; i < sizeof(at) / sizeof(at[0]); i++) {
		for (unsigned int k = 0; k < sizeof(at) / sizeof(at[0]); k++) {
			h.csum_start = at[i];
			h.csum_offset = at[k];
			send_frame(b, f, 60, &h);
		}
	}
	rig_do(&b->r, 1, &(struct rig_seg){ b->tx, HDR, false }, 1);
	rig_do(&b->r, 1, &(struct rig_seg){ b->tx, HDR + 13, false }, 1);
	rig_do(&b->r, 1, &(struct rig_seg){ big, 1 << 20, false }, 1);
	rig_do(&b->r, 1, &(struct rig_seg){ big, HDR + 65535, false }, 1);
	rig_do(&b->r, 1, &(struct rig_seg){ big, HDR + 65536, false }, 1);
	learn_gateway(b);
	rig_add(&b->r, 1, &(struct rig_seg){ b->tx, HDR - 1, false }, 1);
	rig_kick(&b->r, 1);
	assert_true(rig_needs_reset(&b->r));
	bench_start(b);
	learn_gateway(b);
	bench_free(b);
}

static void test_parse(void **state)
{
	static const struct {
		const char *text;
		struct usernet_fwd want;
	} good[] = {
		{ "tcp::2222-:22", { .host_port = 2222, .guest_port = 22 } },
		{ "udp:127.0.0.1:53-10.0.2.15:65535",
		  { .udp = true, .host_port = 53, .guest_port = 65535,
		    .host.s_addr = 0x0100007f, .guest.s_addr = 0x0f02000a } },
	};
	static const char *const bad[] = {
		"", "tcp", "tcp:", "tcp:-", "tcp::-:", "tcp::22", "tcp::22-", "tcp::22-22", "tcp::0-:22",
		"tcp::22-:0", "tcp::65536-:1", "tcp::1-:65536", "icmp::1-:1", "tcp:300.1.1.1:1-:1",
		"tcp:localhost:1-:1", "tcp::1x-:1", "tcp::1-:1x", "tcp::+1-:1", "tcp:: 1-:1",
		"tcp::99999999999999999999-:1",
		"tcp:1111111111111111111111111111111111111111111111111111111111111111111111111:1-:1",
	};
	struct usernet_fwd f;

	for (unsigned int i = 0; i < sizeof(good) / sizeof(good[0]); i++) {
		assert_int_equal(usernet_parse_fwd(good[i].text, &f, NULL), 0);
		assert_int_equal(f.udp, good[i].want.udp);
		assert_int_equal(f.host.s_addr, good[i].want.host.s_addr);
		assert_int_equal(f.guest.s_addr, good[i].want.guest.s_addr);
		assert_int_equal(f.host_port, good[i].want.host_port);
		assert_int_equal(f.guest_port, good[i].want.guest_port);
	}
	for (unsigned int i = 0; i < sizeof(bad) / sizeof(bad[0]); i++) {
		struct vmm_err e = { 0 };

		assert_int_equal(usernet_parse_fwd(bad[i], &f, &e), -EINVAL);
		assert_int_equal(strncmp(e.msg, "hostfwd=", 8), 0);
	}
}

int main(void)
{
	const struct CMUnitTest tests[] = {
		cmocka_unit_test(test_config),
		cmocka_unit_test(test_dhcp),
		cmocka_unit_test(test_udp_echo),
		cmocka_unit_test(test_hostfwd),
		cmocka_unit_test(test_hostile_frames),
		cmocka_unit_test(test_parse),
	};

	return cmocka_run_group_tests(tests, NULL, NULL);
}
