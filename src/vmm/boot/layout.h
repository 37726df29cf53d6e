/* SPDX-License-Identifier: MIT */
/* layout.h - where the loaders put what the guest finds at its start, below 1 MiB. */
#ifndef VMM_BOOT_LAYOUT_H
#define VMM_BOOT_LAYOUT_H

#define BOOT_GDT	 0x1000u
#define BOOT_PARAMS	 0x2000u /* struct boot_params, one page */
#define BOOT_PVH_INFO	 0x3000u /* hvm_start_info, module list and memory map, one page */
#define BOOT_RNG_SEED	 0x4000u /* struct setup_data */
#define BOOT_PAGE_TABLES 0x9000u /* PML4, PDPT, four PDs: identity for 4 GiB */
#define BOOT_CMDLINE	 0x20000u
#define BOOT_CMDLINE_MAX 0x10000u
#define BOOT_EBDA	 0x9fc00u /* conventional memory ends here */
#define BOOT_VGA	 0xa0000u
#define BOOT_ACPI	 0xe0000u /* where a PC's BIOS area is: the RSDP is searched here */
#define BOOT_ACPI_MAX	 0x20000u
#define BOOT_HIGH	 0x100000u
/* KVM's own pages under VMX without unrestricted guest, in the hole below 4 GiB. */
#define KVM_IDENTITY_PAGE 0xfffbc000u
#define KVM_TSS_PAGES	  0xfffbd000u

#define BOOT_CS 0x10u /* the 64-bit boot protocol fixes both selectors (boot.rst, 64-bit BOOT PROTOCOL) */
#define BOOT_DS 0x18u

#endif
