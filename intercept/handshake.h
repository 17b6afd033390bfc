/* handshake.h - the checksum by which the CUDA runtime knows its driver. */
#ifndef HG_INTERCEPT_HANDSHAKE_H
#define HG_INTERCEPT_HANDSHAKE_H

#include <stddef.h>
#include <stdint.h>

#define HG_DIGEST_SIZE 16

/* MD2, RFC 1319. */
void hg_md2(const void *data, size_t size, unsigned char digest[HG_DIGEST_SIZE]);

/* HMAC, RFC 2104, over a hash with a digest of 16 bytes and blocks of at most 64; size <= 4096. */
typedef void (*hg_hash_fn)(const void *data, size_t size, unsigned char digest[HG_DIGEST_SIZE]);
void hg_hmac(hg_hash_fn hash, size_t block_size, const void *key, size_t key_size, const void *data, size_t size,
	     unsigned char digest[HG_DIGEST_SIZE]);

/* What the runtime and the driver both know, in the order in which it is hashed. */
struct hg_handshake {
	uint32_t driver_version, version, pid, thread;
	uint64_t runtime_table, checksum_table, checksum_function;
	uint64_t unix_seconds;
};

struct hg_handshake_device {
	unsigned char uuid[16];
	int32_t pci_domain, pci_bus, pci_device;
};

#define HG_HANDSHAKE_MAX_DEVICES 64

void hg_handshake(const struct hg_handshake *h, const struct hg_handshake_device *device, size_t nr_devices,
		  uint64_t out[2]);

#endif
